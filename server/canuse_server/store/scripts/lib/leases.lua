-- A user's leases are in a hash by token, and in a sorted set in the order in which something is to be done about them: one that
-- is open expires, one that has expired is forgotten. The user's field `x` holds when that is first.
local function note_due(user_key, due_key)
  local first = redis.call('ZRANGE', due_key, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('HSET', user_key, 'x', struct.pack(MOMENT, tonumber(first)))
  else
    redis.call('HDEL', user_key, 'x')
  end
end

local function is_due(due, now)
  return due and now >= struct.unpack(MOMENT, due)
end

local function read_lease(value)
  local state, epoch, amount, expires = struct.unpack(LEASE, value)
  return { state = state, epoch = epoch, amount = amount, expires = expires, feature = string.sub(value, LEASE_BYTES + 1) }
end

local function pack_lease(lease)
  return struct.pack(LEASE, lease.state, lease.epoch, lease.amount, lease.expires) .. lease.feature
end
