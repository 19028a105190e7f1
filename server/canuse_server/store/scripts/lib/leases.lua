-- A user's leases are in a hash by token, and in a sorted set in the order in which something is to be done about them: one that
-- is open expires, one that has expired is forgotten. The user's field `x` holds when that is first.
-- It is never further ahead than a lease can be: what is was noted by a clock that ran ahead.
local function note_due(user_key, due_key, now)
  local first = redis.call('ZRANGE', due_key, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('HSET', user_key, 'x', struct.pack(MOMENT, math.min(tonumber(first), now + LONGEST_LEASE_MS)))
  else
    redis.call('HDEL', user_key, 'x')
  end
end

local function is_due(due, now)
  if not due then return false end
  local moment = struct.unpack(MOMENT, due)
  return moment <= now or moment > now + LONGEST_LEASE_MS
end

local function read_lease(value)
  local state, epoch, amount, expires = struct.unpack(LEASE, value)
  return { state = state, epoch = epoch, amount = amount, expires = expires, feature = string.sub(value, LEASE_BYTES + 1) }
end

local function pack_lease(lease)
  return struct.pack(LEASE, lease.state, lease.epoch, lease.amount, lease.expires) .. lease.feature
end
