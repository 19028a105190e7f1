-- Reads keys of one slot at one moment, whatever their type is.
--
-- KEYS  the keys
-- Returns for each key nil if it does not exist, or a list: its type, when it expires in ms since 1970 (-1: never), and its
-- content: a string, or a list as HGETALL, SMEMBERS, ZRANGE WITHSCORES and LRANGE return it. Of a stream it is the id of the last
-- entry that was ever added.
local function last_id(key)
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

local read = {
  string = function(key) return redis.call('GET', key) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  stream = last_id,
}

local found = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  found[i] = kind ~= 'none' and { kind, redis.call('PEXPIRETIME', key), read[kind](key) }
end
return found
