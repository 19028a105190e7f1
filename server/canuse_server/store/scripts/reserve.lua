-- Sets an amount of a feature aside ahead of use, a lease: all of it, or what there is of it, or nothing.
--
-- What is set aside weighs on the budget as if it had been used, until the lease is settled or expires or its period is over.
-- Grants are not drawn from before it is used.
--
-- KEYS  1 the user's hash   2 the user's past periods   3 to 6 the stored answers of the user's event ids
--       7 the user's leases   8 the order in which they are due
-- ARGV  1 now in ms, or '' for Redis's clock   2 the event id, as EVENT, or ''
--       3 age of past periods in days   4 feature id   5 '1' if the feature is archived or else ''
--       6 amount   7 the least amount that is of use   8 ttl of the lease in ms   9 the lease's token (8 bytes)
-- Returns one string. Its first byte says what happened, as in record_usage; 'K' or 'R' is followed by the amount granted (56
-- bits), when the lease expires (48 bits), its token, and an outcome as in record_usage of one charge, that of 'R' as it was
-- stored. Nothing was set aside where the amount is 0.
-- include: layout
-- include: fields
-- include: clock
-- include: period
-- include: decision
-- include: grants
-- include: history
-- include: account
-- include: leases
-- include: retry
-- include: outcome
local dedupe_open, dedupe_find, dedupe_replay, pack_kept
-- include: dedupe
-- include: kept
-- include: kept_charge
-- include: dedupe_begin
-- include: event
assert(#KEYS == 8 and #ARGV == 9 and #ARGV[9] == 8, 'reserve takes 8 keys, 9 arguments and a token of 8 bytes')

local FIRST_EVENT_KEY = 3
local now, feature, token, event = clock(ARGV[1]), ARGV[4], ARGV[9], ARGV[2]
local fields = redis.call('HMGET', KEYS[1], 'm', 'x', 'f:' .. feature, 'g:' .. feature, 'r:' .. feature, 'd')
if not fields[1] then return 'U' end
local replayed = event ~= '' and event_answer(FIRST_EVENT_KEY, event, fields[6])
if replayed then return replayed end
if fields[5] and is_due(fields[2], now) then return 'L' end
local account = read_account(feature, fields[3], fields[4], fields[5], now)
if not account or is_ahead(fields[1], now) then return 'S' end

-- What there is of it.
local disabled, archived = has(string.byte(fields[1]), DISABLED), ARGV[5] == '1'
local function reason_for(amount)
  return decide(disabled, archived, account.flags, account.budget, account.used + account.reserved + amount)
end
local granted = tonumber(ARGV[6])
local reason = reason_for(granted)
if reason == BUDGET_EXCEEDED then
  local rest = account.budget - account.used - account.reserved
  if rest >= tonumber(ARGV[7]) then
    granted, reason = rest, reason_for(rest)
  end
end
if reason >= NOT_ENTITLED then granted = 0 end
if account.used + account.reserved + granted > MAX_AMOUNT then return 'O' end

-- From here on it writes.
local expires, retry = 0, 0
if granted == 0 and not disabled and not archived then
  account.amount, account.least = tonumber(ARGV[6]), tonumber(ARGV[7])
  retry = retry_after({ account }, now)
elseif granted > 0 then
  expires = now + tonumber(ARGV[8])
  if not fields[5] or account.epoch_start ~= account.start then
    -- The first lease of a period.
    account.epoch, account.epoch_units = account.epoch + 1, 0
  end
  local lease = { state = OPEN, epoch = account.epoch, amount = granted, expires = expires, feature = feature }
  assert(redis.call('HSETNX', KEYS[7], token, pack_lease(lease)) == 1, 'reserve: the token is taken')
  redis.call('ZADD', KEYS[8], expires, token)
  note_due(KEYS[1], KEYS[8], now)
  -- The count is written too, although it is what it was: it is what shows later that the period of the lease is over.
  save_account(KEYS[1], KEYS[2], tonumber(ARGV[3]), account)
  account.reserved = account.epoch_units + granted
  redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, account.epoch, account.start, account.reserved))
end

local refused, lease = granted == 0 and 1 or 0, struct.pack('<I7I6', granted, expires) .. token
if event ~= '' then
  local charge = keep_charge(
    reason, account.packed, false, 0, account.used, retry, account.start, account.budget, account.reserved
  )
  event_store(KEYS[1], FIRST_EVENT_KEY, event, fields[6], lease .. string.char(refused) .. charge, now)
end
return 'K'
  .. lease
  .. pack_outcome(refused, now)
  .. pack_charge(reason, account.packed, '', account.used, retry, account.start, account.budget, account.reserved)
