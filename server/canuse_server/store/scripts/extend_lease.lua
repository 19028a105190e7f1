-- Extends a lease: lets it expire later, adds units to it, or both, or nothing of it.
--
-- KEYS  1 the user's hash   2 to 5 the stored answers of the user's event ids   6 the user's leases
--       7 the order in which they are due
-- ARGV  1 now in ms, or '' for Redis's clock   2 the event id, as EVENT, or ''   3 the lease's token   4 feature id
--       5 '1' if the feature is archived or else ''   6 ttl of the lease from now on in ms, 0: as it is; it never becomes shorter
--       7 units to add, 0: none
-- Returns one string. Its first byte says what happened, as in record_usage, and 'N': there is no such lease, or it has expired,
-- 'P': units can't be added, for its period is over. 'K' or 'R' is followed by the units that the lease holds (56 bits), when
-- it expires (48 bits), and an outcome as in record_usage of one charge, that of 'R' as it was stored: refused, where the units
-- are not there; then nothing was changed.
-- include: layout
-- include: fields
-- include: clock
-- include: period
-- include: decision
-- include: grants
-- include: history
-- include: account
-- include: leases
-- include: outcome
local dedupe_open, dedupe_find, dedupe_replay, pack_kept
-- include: dedupe
-- include: kept
-- include: kept_charge
-- include: dedupe_begin
-- include: event
assert(#KEYS == 7 and #ARGV == 7, 'extend_lease takes 7 keys and 7 arguments')

local FIRST_EVENT_KEY = 2
local now, event, token, feature = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local ttl, more = tonumber(ARGV[6]), tonumber(ARGV[7])
local fields = redis.call('HMGET', KEYS[1], 'm', 'x', 'f:' .. feature, 'g:' .. feature, 'r:' .. feature, 'd')
if not fields[1] then return 'N' end
local replayed = event ~= '' and event_answer(FIRST_EVENT_KEY, event, fields[6])
if replayed then return replayed end
local packed_lease = redis.call('HGET', KEYS[6], token)
if not packed_lease then return 'N' end
local lease = read_lease(packed_lease)
if lease.feature ~= feature then return 'N' end
if is_due(fields[2], now) then return 'L' end
if lease.state ~= OPEN then return 'N' end
local account = read_account(feature, fields[3], fields[4], fields[5], now)
if not account or is_ahead(fields[1], now) then return 'S' end

local is_current = lease.epoch == account.epoch and account.epoch_start == account.start
local disabled = has(string.byte(fields[1]), DISABLED)
local reason = decide(disabled, ARGV[5] == '1', account.flags, account.budget, account.used + account.reserved + more)
local refused = more > 0 and reason >= NOT_ENTITLED
if more > 0 and not refused then
  if not is_current then return 'P' end
  if account.used + account.reserved + more > MAX_AMOUNT then return 'O' end
end

-- From here on it writes.
if not refused then
  lease.expires, lease.amount = math.max(lease.expires, ttl > 0 and now + ttl or 0), lease.amount + more
  redis.call('HSET', KEYS[6], token, pack_lease(lease))
  redis.call('ZADD', KEYS[7], lease.expires, token)
  note_due(KEYS[1], KEYS[7], now)
end
if more > 0 and not refused then
  account.reserved = account.epoch_units + more
  redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, account.epoch, account.epoch_start, account.reserved))
end

local refusal, held = refused and 1 or 0, struct.pack('<I7I6', lease.amount, lease.expires)
if event ~= '' then
  local charge = keep_charge(
    reason, account.packed, false, 0, account.used, 0, account.start, account.budget, account.reserved
  )
  event_store(KEYS[1], FIRST_EVENT_KEY, event, fields[6], held .. string.char(refusal) .. charge, now)
end
return 'K'
  .. held
  .. pack_outcome(refusal, now)
  .. pack_charge(reason, account.packed, '', account.used, 0, account.start, account.budget, account.reserved)
