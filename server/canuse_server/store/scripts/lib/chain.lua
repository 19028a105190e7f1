-- The uses of a chain are sent together, in their order. Each is made only where the one before it was: that one may have been
-- sent elsewhere by a Cluster, or the script not known to the store, or it has to be repeated.
local CHAIN_MS = 60000 -- more than it takes until the last use of a chain has come

-- Returns whether the one at a place is the next one, and how to take that back if it is not made; nil where it was the last one.
local function enter_chain(chain, place)
  local made = 1
  if place == 1 then
    redis.call('SET', chain, 1, 'PX', CHAIN_MS)
  else
    made = redis.call('INCR', chain)
  end
  local function step_back()
    if made == 1 then
      redis.call('DEL', chain)
    else
      redis.call('SET', chain, made - 1, 'KEEPTTL')
    end
  end
  if made ~= math.abs(place) then
    step_back()
    return false
  end
  if place > 0 then return true, step_back end
  redis.call('DEL', chain)
  return true
end
