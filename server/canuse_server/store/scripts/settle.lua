-- Settles a lease: counts what was used of it, a fact, and gives the rest back, or keeps it.
--
-- A lease belongs to the period in which it was taken. Where that is over, what was used counts to it all the same, as long as it
-- is among the past periods kept, and the rest is gone with it.
--
-- KEYS  1 the user's hash   2 the bucket's ledger   3 the user's past periods   4 to 7 the stored answers of the user's event ids
--       8 the user's leases   9 the order in which they are due
-- ARGV  1 now in ms, or '' for Redis's clock   2 the event id, as EVENT, or ''
--       3 how long things are kept, as in RETENTION   4 the lease's token
--       5 feature id   6 '1' if the feature is archived or else ''   7 the amount used
--       8 the ledger entry up to what is only known here   9 '1' if the lease is to end or else ''
-- Returns one string. Its first byte says what happened, as in record_usage, and 'N': there is no such lease. 'K' or 'R' is
-- followed by a byte, 1 where the lease had expired, and an outcome as in record_usage of one charge, that of 'R' as it was stored.
-- include: layout
-- include: fields
-- include: clock
-- include: period
-- include: decision
-- include: ledger
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
assert(#KEYS == 9 and #ARGV == 9, 'settle takes 9 keys and 9 arguments')

local FIRST_EVENT_KEY = 4
local now, token, feature, used = clock(ARGV[1]), ARGV[4], ARGV[5], tonumber(ARGV[7])
local event, _, kept_days = ARGV[2], struct.unpack(RETENTION, ARGV[3])
local fields = redis.call('HMGET', KEYS[1], 'm', 'x', 'f:' .. feature, 'g:' .. feature, 'r:' .. feature, 'd')
if not fields[1] then return 'N' end
local replayed = event ~= '' and event_answer(FIRST_EVENT_KEY, event, fields[6])
if replayed then return replayed end
local packed_lease = redis.call('HGET', KEYS[8], token)
if not packed_lease then return 'N' end
local lease = read_lease(packed_lease)
if lease.feature ~= feature then return 'N' end
if is_due(fields[2], now) then return 'L' end
local account = read_account(feature, fields[3], fields[4], fields[5], now)
if not account or is_ahead(fields[1], now) then return 'S' end

-- Where it counts: the current period, or one that is over.
local is_latest = lease.epoch == account.epoch
local is_current = is_latest and account.flags and account.epoch_start == account.start
local history, past, is_old, place, period, following
local final = ARGV[9] == '1'
local released = final and lease.amount or math.min(used, lease.amount)
if is_current then
  local held = lease.state == OPEN and released or 0
  -- Subtracted first: a sum past 2^53 is not exact, and would come back within the bound.
  if account.used + used > MAX_AMOUNT - (account.reserved - held) then return 'O' end
else
  history = past_periods()
  past, is_old = history.read(KEYS[3], feature)
  past = history.tidied(past, kept_days, now)
  if account.rolled then past = history.with(past, kept_days, account.rolled, now) end
  place, period, following = history.find(past, lease.epoch)
  if period and period.used + used > MAX_AMOUNT then return 'O' end
end

-- From here on it writes.
lease.amount = lease.amount - released
if final then
  redis.call('HDEL', KEYS[8], token)
  redis.call('ZREM', KEYS[9], token)
  note_due(KEYS[1], KEYS[9], now)
else
  redis.call('HSET', KEYS[8], token, pack_lease(lease))
end
if lease.state == OPEN and is_latest then
  local units = account.epoch_units - released
  redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, account.epoch, account.epoch_start, units))
  if is_current then account.reserved = units end
end

-- Counts what was used to the period that is over, and returns its total and budget; of one that is not kept nothing is known.
local function count_in_past()
  if not period then return used, 0 end
  local beyond, overage = 0, history.overage_of(period)
  if period.budget ~= NONE then
    local rest = period.budget + period.drawn - (period.used - overage)
    beyond = math.max(0, used - math.max(0, rest))
  end
  if beyond > 0 and #account.grants > 0 then
    local drawn = draw_for_past(account.grants, beyond, now)
    period.drawn, beyond = period.drawn + drawn, beyond - drawn
    redis.call('HSET', KEYS[1], 'g:' .. feature, pack_grants(account.grants))
    account.budget = budget_of(account, now)
  end
  period.used = period.used + used
  if period.overage then period.overage = overage + beyond end
  history.write(KEYS[3], feature, history.replace(past, place, following, period), is_old)
  return period.used, period.budget == NONE and NONE or math.min(period.budget + period.drawn, MAX_AMOUNT)
end

local total, budget = 0, 0
if is_current then
  if used > 0 then
    count_up_to(account, account.used + used, now)
    save_account(KEYS[1], KEYS[3], kept_days, account)
  end
  total, budget = account.used, account.budget
elseif used > 0 then
  if account.rolled then save_account(KEYS[1], KEYS[3], kept_days, account) end
  total, budget = count_in_past()
end

local disabled = has(string.byte(fields[1]), DISABLED)
local reason = decide(disabled, ARGV[6] == '1', account.flags, account.budget, account.used + account.reserved)
local ledger_id = ''
if used > 0 then ledger_id = append(KEYS[2], ARGV[1], now, ARGV[3], ARGV[8], used, total, reason, budget) end
local late = string.char(lease.state == EXPIRED and 1 or 0)
if event ~= '' then
  local charge = keep_charge(
    reason, account.packed, used > 0, used, account.used, used, account.start, account.budget, account.reserved
  )
  event_store(KEYS[1], FIRST_EVENT_KEY, event, fields[6], late .. string.char(0) .. charge, now)
end
return 'K'
  .. late
  .. pack_outcome(0, now)
  .. pack_charge(
    reason, account.packed, ledger_id, account.used, used, account.start, account.budget, account.reserved
  )
