-- Records a use of a feature, or checks and records it, in one step.
--
-- KEYS  1 the user's hash   2 the bucket's ledger   3 the user's past periods   4, 5 the user's idempotency keys
-- ARGV  1 now in ms, or '' for Redis's clock
--       2 mode: 'A' add, 'S' set, 'U' check, and add if that is a yes
--       3 feature id   4 delta   5 '1' if the feature is archived, else ''
--       6 event id, or ''   7 fingerprint of the content (8 bytes)
--       8 the ledger entry up to what is only known here (a serialised canuse.v1.LedgerEntry)
--       9 ttl of event ids in ms   10 age in ms up to which the ledger is kept   11 past periods kept
-- Returns one string. Its first byte says what happened:
--       'K' done: an outcome follows (reason, length of the entitlement, now, used, applied delta, period start; then
--           the entitlement and the ledger id)
--       'R' the event id is known, with this content: the outcome of the first time follows
--       'X' the event id is known, with other content
--       'U' there is no such user   'S' the entitlement is stale: renew it, then repeat
--       'O' the total would pass 2^53 - 1
-- All but 'K' have written nothing.
-- include: layout
-- include: clock
-- include: history
-- include: dedupe
assert(#KEYS == 5 and #ARGV == 11, 'record_usage takes 5 keys and 11 arguments')

local UNLIMITED, WITHIN_BUDGET, WITH_OVERAGE = 3, 2, 4
local NOT_ENTITLED, BUDGET_EXCEEDED, INACTIVE, ARCHIVED, USER_DISABLED = 10, 11, 12, 13, 14
local FIXED_LENGTH = { [2] = 3600000, [3] = 86400000, [4] = 604800000 } -- hour, day, week in ms

local mode, feature, delta, event_id = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[6]
local now = clock(ARGV[1])

-- What there is.
local fields = redis.call('HMGET', KEYS[1], 'm', 'e:' .. feature, 'c:' .. feature)
local meta, packed, counter = fields[1], fields[2], fields[3]
if not meta then return 'U' end
if event_id ~= '' then
  local known = dedupe_find(KEYS[4], KEYS[5], event_id)
  if known then
    if string.sub(known, 1, 8) ~= ARGV[7] then return 'X' end
    return 'R' .. string.sub(known, 9)
  end
end

-- The current period and what was used in it.
local flags, reset_period, limit, period_start, period_end, valid_until = 0, 1, 0, 0, NONE, NONE
local used, rolled_used, rolled_start = 0, 0, 0
local length
if packed then
  flags, reset_period, limit, period_start, period_end, valid_until = struct.unpack(ENTITLEMENT, packed)
  if valid_until ~= NONE and now >= valid_until then return 'S' end
  length = FIXED_LENGTH[reset_period]
  if length and now > period_start then
    period_start = period_start + math.floor((now - period_start) / length) * length
  end
  if counter then
    local counted, counted_from = struct.unpack(COUNTER, counter)
    if counted_from >= period_start then
      -- A counter ahead of the clock keeps its period: a clock that steps back never resets a count twice.
      used, period_start = counted, counted_from
    else
      rolled_used, rolled_start = counted, counted_from
    end
  end
end

-- The decision. It is the rule of domain/decision.py.
local total = mode == 'S' and delta or used + delta
if total < 0 then total = 0 end
local reason
if has(string.byte(meta), DISABLED) then reason = USER_DISABLED
elseif ARGV[5] == '1' then reason = ARCHIVED
elseif not packed then reason = NOT_ENTITLED
elseif not has(flags, ACTIVE) then reason = INACTIVE
elseif limit == NONE then reason = UNLIMITED
elseif total <= limit then reason = WITHIN_BUDGET
elseif has(flags, OVERAGE) then reason = WITH_OVERAGE
else reason = BUDGET_EXCEEDED end

local recorded = packed and (mode ~= 'U' or reason < NOT_ENTITLED)
if not packed and mode ~= 'U' then reason = NOT_ENTITLED end
if recorded and total > MAX_AMOUNT then return 'O' end

-- From here on it writes.
local applied, ledger_id = 0, ''
if recorded then
  applied = total - used
  -- The tail of a canuse.v1.LedgerEntry: applied_delta and used as sfixed64, reason as a varint.
  local entry = ARGV[8] .. struct.pack('<Bi8Bi8BB', 57, applied, 65, total, 72, reason)
  local oldest = string.format('%.0f', math.max(0, now - ARGV[10]))
  if ARGV[1] ~= '' then
    -- Refused where a later event is there already: the manual clock was moved while this use was on its way.
    ledger_id = redis.pcall('XADD', KEYS[2], 'MINID', '~', oldest, ARGV[1] .. '-*', 'e', entry)
  end
  if type(ledger_id) ~= 'string' or ledger_id == '' then
    ledger_id = redis.call('XADD', KEYS[2], 'MINID', '~', oldest, '*', 'e', entry)
  end
  if rolled_used > 0 then
    local rolled_end = length and rolled_start + length or period_start
    archive(KEYS[3], feature, tonumber(ARGV[11]), rolled_start, rolled_end, rolled_used, limit)
  end
  redis.call('HSET', KEYS[1], 'c:' .. feature, struct.pack(COUNTER, total, period_start))
  used = total
end
local outcome = struct.pack('<BBi8i8i8i8', reason, packed and #packed or 0, now, used, applied, period_start)
  .. (packed or '') .. ledger_id
if event_id ~= '' then
  dedupe_store(KEYS[4], KEYS[5], event_id, ARGV[7] .. outcome, now, tonumber(ARGV[9]))
end
return 'K' .. outcome
