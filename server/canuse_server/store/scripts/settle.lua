-- Ends a lease: counts what was used of it, a fact, and gives the rest back.
--
-- A lease belongs to the period in which it was taken. Where that is over, what was used counts to it all the same, as long as it
-- is among the past periods kept, and the rest is gone with it.
--
-- KEYS  1 the user's hash   2 the bucket's ledger   3 the user's past periods   4, 5 the user's idempotency keys
--       6 the user's leases   7 the order in which they are due
-- ARGV  1 now in ms, or '' for Redis's clock   2 event id, or ''   3 fingerprint of the content (8 bytes)
--       4 ttl of event ids in ms   5 how long things are kept, as in RETENTION   6 the lease's token
--       7 feature id   8 '1' if the feature is archived or else ''   9 the amount used
--       10 the ledger entry up to what is only known here
-- Returns one string. Its first byte says what happened, as in record_usage, and 'N': there is no such lease. 'K' or 'R' is
-- followed by a byte, 1 where the lease had expired, and an outcome as in record_usage of one charge.
-- include: layout
-- include: fields
-- include: clock
-- include: period
-- include: decision
-- include: ledger
-- include: grants
-- include: history
-- include: dedupe
-- include: account
-- include: leases
-- include: outcome
assert(#KEYS == 7 and #ARGV == 10, 'settle takes 7 keys and 10 arguments')

local now, token, feature, used = clock(ARGV[1]), ARGV[6], ARGV[7], tonumber(ARGV[9])
local event_id, fingerprint, _, kept = ARGV[2], ARGV[3], struct.unpack(RETENTION, ARGV[5])
local fields = redis.call('HMGET', KEYS[1], 'm', 'x', 'f:' .. feature, 'g:' .. feature, 'r:' .. feature)
if not fields[1] then return 'N' end
local replayed = dedupe_answer(KEYS[4], KEYS[5], event_id, fingerprint)
if replayed then return replayed end
local packed_lease = redis.call('HGET', KEYS[6], token)
if not packed_lease then return 'N' end
local lease = read_lease(packed_lease)
if lease.feature ~= feature then return 'N' end
if is_due(fields[2], now) then return 'L' end
local account = read_account(feature, fields[3], fields[4], fields[5], now)
if not account or is_ahead(fields[1], now) then return 'S' end

-- Where it counts: the current period, or one that is over.
local is_latest = lease.epoch == account.epoch
local is_current = is_latest and account.flags and account.epoch_start == account.start
local past, place, period
if is_current then
  local held = lease.state == OPEN and lease.amount or 0
  -- Subtracted first: a sum past 2^53 is not exact, and would come back within the bound.
  if account.used + used > MAX_AMOUNT - (account.reserved - held) then return 'O' end
else
  past = redis.call('HGET', KEYS[3], feature) or ''
  if account.rolled then past = with_past(past, kept, account.rolled) end
  place, period = find_past(past, lease.epoch)
  if period and period.used + used > MAX_AMOUNT then return 'O' end
end

-- From here on it writes.
redis.call('HDEL', KEYS[6], token)
redis.call('ZREM', KEYS[7], token)
note_due(KEYS[1], KEYS[7], now)
if lease.state == OPEN and is_latest then
  local units = account.epoch_units - lease.amount
  redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, account.epoch, account.epoch_start, units))
  if is_current then account.reserved = units end
end

-- Counts what was used to the period that is over, and returns its total and budget; of one that is not kept nothing is known.
local function count_in_past()
  if not period then return used, 0 end
  period.used = period.used + used
  if period.budget ~= NONE and #account.grants > 0 then
    local beyond = math.min(used, math.max(0, period.used - period.budget - period.drawn))
    period.drawn = period.drawn + draw_for_past(account.grants, beyond, now)
    redis.call('HSET', KEYS[1], 'g:' .. feature, pack_grants(account.grants))
    account.budget = budget_of(account, now)
  end
  redis.call('HSET', KEYS[3], feature, replace_past(past, place, period))
  return period.used, period.budget == NONE and NONE or math.min(period.budget + period.drawn, MAX_AMOUNT)
end

local total, budget = 0, 0
if is_current then
  if used > 0 then
    count_up_to(account, account.used + used, now)
    save_account(KEYS[1], KEYS[3], kept, account)
  end
  total, budget = account.used, account.budget
elseif used > 0 then
  if account.rolled then save_account(KEYS[1], KEYS[3], kept, account) end
  total, budget = count_in_past()
end

local disabled = has(string.byte(fields[1]), DISABLED)
local reason = decide(disabled, ARGV[8] == '1', account.flags, account.budget, account.used + account.reserved)
local ledger_id = ''
if used > 0 then ledger_id = append(KEYS[2], ARGV[1], now, ARGV[5], ARGV[10], used, total, reason, budget) end
local outcome = string.char(lease.state == EXPIRED and 1 or 0)
  .. pack_outcome(0, now)
  .. pack_charge(
    reason, account.packed, ledger_id, account.used, used, account.start, account.budget, account.reserved
  )
if event_id ~= '' then dedupe_store(KEYS[4], KEYS[5], event_id, fingerprint .. outcome, now, tonumber(ARGV[4])) end
return 'K' .. outcome
