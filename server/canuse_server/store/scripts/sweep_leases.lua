-- Does what is due about a user's leases: gives back what those hold whose time has come, and forgets those that expired long ago.
--
-- KEYS  1 the user's hash   2 the user's leases   3 the order in which they are due
-- ARGV  1 now in ms, or '' for Redis's clock   2 how long an expired lease can be settled yet, in ms   3 how many at most
-- Returns how many were due: as many as it may do, and there may be more. Nothing is due before the time in the user's field `x`.
-- include: layout
-- include: fields
-- include: clock
-- include: leases
assert(#KEYS == 3 and #ARGV == 3, 'sweep_leases takes 3 keys and 3 arguments')

local now, late_ms, most = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not is_due(redis.call('HGET', KEYS[1], 'x'), now) then return 0 end
local tokens = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, most)
-- Those that are further ahead than a lease can be were taken under a clock that ran ahead: they end now.
local ahead = string.format('(%.0f', now + math.max(LONGEST_LEASE_MS, late_ms))
for _, token in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], ahead, '+inf', 'LIMIT', 0, most - #tokens)) do
  tokens[#tokens + 1] = token
end
local units_back = {}
for _, token in ipairs(tokens) do
  local lease = read_lease(redis.call('HGET', KEYS[2], token))
  if lease.state == OPEN then
    local back = units_back[lease.feature] or {}
    units_back[lease.feature] = back
    back[lease.epoch] = (back[lease.epoch] or 0) + lease.amount
  end
  lease.expires = math.min(lease.expires, now)
  local forgotten = lease.expires + late_ms
  if now < forgotten then
    lease.state = EXPIRED
    redis.call('HSET', KEYS[2], token, pack_lease(lease))
    redis.call('ZADD', KEYS[3], forgotten, token)
  else
    redis.call('HDEL', KEYS[2], token)
    redis.call('ZREM', KEYS[3], token)
  end
end
for feature, back in pairs(units_back) do
  local epoch, start, units = struct.unpack(RESERVATION, redis.call('HGET', KEYS[1], 'r:' .. feature))
  -- Those of earlier epochs hold nothing any more.
  units = units - (back[epoch] or 0)
  redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, epoch, start, units))
end
note_due(KEYS[1], KEYS[3], now)
return #tokens
