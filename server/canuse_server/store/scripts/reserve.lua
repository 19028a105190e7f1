-- Sets an amount of a feature aside ahead of use, a lease: all of it, or what there is of it, or nothing.
--
-- What is set aside weighs on the budget as if it had been used, until the lease is settled or expires or its period is over.
-- Grants are not drawn from before it is used.
--
-- KEYS  1 the user's hash   2 the user's past periods   3, 4 the user's idempotency keys   5 the user's leases
--       6 the order in which they are due
-- ARGV  1 now in ms, or '' for Redis's clock   2 event id, or ''   3 fingerprint of the content (8 bytes)
--       4 ttl of event ids in ms   5 past periods kept   6 feature id   7 '1' if the feature is archived or else ''
--       8 amount   9 the least amount that is of use   10 ttl of the lease in ms   11 the lease's token (8 bytes)
-- Returns one string. Its first byte says what happened, as in record_usage; 'K' or 'R' is followed by the amount granted, when
-- the lease expires, its token, and an outcome as in record_usage of one charge. Nothing was set aside where the amount is 0.
-- include: layout
-- include: fields
-- include: clock
-- include: period
-- include: decision
-- include: grants
-- include: history
-- include: dedupe
-- include: account
-- include: leases
-- include: outcome
assert(#KEYS == 6 and #ARGV == 11 and #ARGV[11] == 8, 'reserve takes 6 keys, 11 arguments and a token of 8 bytes')

local now, feature, token = clock(ARGV[1]), ARGV[6], ARGV[11]
local event_id, fingerprint = ARGV[2], ARGV[3]
local fields = redis.call('HMGET', KEYS[1], 'm', 'x', 'f:' .. feature, 'g:' .. feature, 'r:' .. feature)
if not fields[1] then return 'U' end
local replayed = dedupe_answer(KEYS[3], KEYS[4], event_id, fingerprint)
if replayed then return replayed end
if fields[5] and is_due(fields[2], now) then return 'L' end
local account = read_account(feature, fields[3], fields[4], fields[5], now)
if not account or is_ahead(fields[1], now) then return 'S' end

-- What there is of it.
local function reason_for(amount)
  local disabled, archived = has(string.byte(fields[1]), DISABLED), ARGV[7] == '1'
  return decide(disabled, archived, account.flags, account.budget, account.used + account.reserved + amount)
end
local granted = tonumber(ARGV[8])
local reason = reason_for(granted)
if reason == BUDGET_EXCEEDED then
  local rest = account.budget - account.used - account.reserved
  if rest >= tonumber(ARGV[9]) then
    granted, reason = rest, reason_for(rest)
  end
end
if reason >= NOT_ENTITLED then granted = 0 end
if account.used + account.reserved + granted > MAX_AMOUNT then return 'O' end

-- From here on it writes.
local expires = 0
if granted > 0 then
  expires = now + tonumber(ARGV[10])
  if not fields[5] or account.epoch_start ~= account.start then
    -- The first lease of a period.
    account.epoch, account.epoch_units = account.epoch + 1, 0
  end
  local lease = { state = OPEN, epoch = account.epoch, amount = granted, expires = expires, feature = feature }
  assert(redis.call('HSETNX', KEYS[5], token, pack_lease(lease)) == 1, 'reserve: the token is taken')
  redis.call('ZADD', KEYS[6], expires, token)
  note_due(KEYS[1], KEYS[6], now)
  -- The count is written too, although it is what it was: it is what shows later that the period of the lease is over.
  save_account(KEYS[1], KEYS[2], tonumber(ARGV[5]), account)
  account.reserved = account.epoch_units + granted
  redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, account.epoch, account.start, account.reserved))
end

local outcome = struct.pack('<i8i8', granted, expires) .. token
  .. pack_outcome(granted == 0 and 1 or 0, now)
  .. pack_charge(reason, account.packed, '', account.used, 0, account.start, account.budget, account.reserved)
if event_id ~= '' then dedupe_store(KEYS[3], KEYS[4], event_id, fingerprint .. outcome, now, tonumber(ARGV[4])) end
return 'K' .. outcome
