-- Records uses of features, or checks and records them, in one step: all of them or none.
--
-- KEYS  1 the user's hash   2 the bucket's ledger   3 the user's past periods
--       then, with an event id: the stored answers of the user's event ids, four hashes
--       then, only for a use of a chain: a key of the chain's own, which counts the uses of it that were made
-- ARGV  1 mode: 'A' add, 'S' set, 'U' check, and add if that is a yes; a delta of 0 asks whether 1 could be used, and adds
--         nothing; then now in ms, or nothing for Redis's clock
--       2 how long things are kept, as in RETENTION; then, where features are archived, 4 bytes in which the bits of their
--         charges are set, of the first one the lowest; then, where charges of mode 'U' are facts, 4 bytes with theirs: a
--         fact is added whatever the check says, but the others are not added where it says no of one
--       then for each charge: feature id, delta, and the ledger entry up to what is only known here (a serialised
--       canuse.storage.v1.LedgerEntry). No feature is charged twice.
--       then, with an event id: the event id, as EVENT
--       then, for a use of a chain: its place in the chain, from 1; that of the last one negative
-- Returns one string. Its first byte says what happened:
--       'K' done: an outcome follows
--       'R' the event id is known, with this content: the outcome of the first time follows, as it was stored
--       'X' the event id is known, with other content
--       'U' there is no such user   'S' an entitlement is stale: renew it, then repeat
--       'B' one before it in its chain has not been made
--       'L' a lease has expired: sweep, then repeat   'O' a total would pass 2^53 - 1
-- All but 'K' have written nothing, but in the chain: those that end for good count as made. An outcome is: the number of the charge that
-- was refused (0: none), now; then for each charge reason, length of the entitlement, length of the ledger id, used, applied
-- delta, period start, budget (-1 unlimited), units reserved, the entitlement, the ledger id. In place of the applied delta of
-- the refused charge: after what time the call would be a yes if nothing but time changes, in ms, 0 where that is not known.
-- include: layout
-- include: decision
-- include: ledger
local FIRST, WIDTH = 3, 3 -- where the charges start, and how many arguments each has
local FIRST_EVENT_KEY = 4
local WEEK = 4 -- the reset periods up to it have a fixed length, but NEVER
local mode, manual_now, retention = ARGV[1], '', ARGV[2]
if #mode > 1 then mode, manual_now = string.sub(mode, 1, 1), string.sub(mode, 2) end
local key_count, last = #KEYS, #ARGV
local has_event_id = key_count > 4
local chain = KEYS[has_event_id and 8 or 4]
if chain then last = last - 1 end
local event = has_event_id and ARGV[last]
local count = (last - FIRST + 1 - (event and 1 or 0)) / WIDTH
assert(
  key_count == (event and 7 or 3) + (chain and 1 or 0) and count >= 1 and count % 1 == 0,
  'record_usage takes 3 keys, 4 with an event id, 1 of a chain; 2 arguments, 3 for each charge, 1 with an event id, 1 of a chain'
)

local step_back
if chain then
-- include: chain
  local is_next
  is_next, step_back = enter_chain(chain, tonumber(ARGV[last + 1]))
  if not is_next then return 'B' end
end

local now
if manual_now == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(manual_now)
end

-- What there is.
local fields, feature_field
if count == 1 then
  local feature = ARGV[FIRST]
  feature_field = 'f:' .. feature
  if event then
    fields = redis.call('HMGET', KEYS[1], 'm', 'x', feature_field, 'g:' .. feature, 'r:' .. feature, 'd')
  else
    fields = redis.call('HMGET', KEYS[1], 'm', 'x', feature_field, 'g:' .. feature, 'r:' .. feature)
  end
else
  local names = { 'm', 'x' }
  for i = 1, count do
    local feature = ARGV[FIRST + (i - 1) * WIDTH]
    names[3 * i], names[3 * i + 1], names[3 * i + 2] = 'f:' .. feature, 'g:' .. feature, 'r:' .. feature
  end
  if event then names[3 * count + 3] = 'd' end
  fields = redis.call('HMGET', KEYS[1], unpack(names))
end
local meta, value, moments = fields[1], fields[3], event and fields[3 * count + 3]
local disabled = meta and string.byte(meta) % (2 * DISABLED) >= DISABLED

local dedupe_open, dedupe_find, dedupe_replay, pack_kept
if event then
-- include: dedupe
-- include: kept
end

-- The short way, at less than half the time, for nearly all uses: of one feature that is not archived, without grants and leases,
-- in a period that is known and has been counted in or is the first one. It decides and writes what the long way below would. It
-- has few functions and calls few, since each costs as much as what it does.
if meta and value and not (fields[4] or fields[5]) and count == 1 and #retention == RETENTION_BYTES then
  local flags, reset_period, limit, start = struct.unpack(ENTITLEMENT, value)
  local size, fresh = ENTITLEMENT_BYTES, reset_period <= LAST_RESET_PERIOD
  local shown, finish, valid_until, length = start, 0
  if flags % (2 * ENDS) >= ENDS then
    if event then finish = struct.unpack(MOMENT, value, size + 1) end
    size = size + MOMENT_BYTES
  end
  if flags % (2 * RUNS_OUT) >= RUNS_OUT then
    size = size + MOMENT_BYTES
    valid_until = struct.unpack(MOMENT, value, size - MOMENT_BYTES + 1)
    fresh = fresh and now < valid_until
  end
  local packed, used, used_from = value, 0, start
  if #value > size then
    packed, used, used_from = string.sub(value, 1, size), struct.unpack(COUNTER, value, size + 1)
  end
  -- A period of a fixed length rolls from its first start on; the others are over when the entitlement is.
  if reset_period > 1 and reset_period <= WEEK then
    length = reset_period == 2 and 3600000 or reset_period == 3 and 86400000 or 604800000
    if now > start then start = now - (now - start) % length end
    if #value == size then used_from = start end
    if start >= finish and finish > 0 then shown, finish = start, start + length end
  end
  -- What is not of the current period, or was made under a clock that ran ahead, is for the long way.
  if #meta > META_BYTES then
    fresh = fresh and struct.unpack(MOMENT, meta, META_BYTES + 1) <= now + CLOCKS_DIFFER_MS
  end
  -- Of what is inactive, but will be active, the long way tells when.
  fresh = fresh and (flags < PREDICTABLE or flags % (2 * ACTIVE) >= ACTIVE)
  if fresh and used_from == start and start <= now and flags % (2 * GRANTED) < GRANTED then
    local budget = flags % (2 * NO_LIMIT) >= NO_LIMIT and NONE or limit
    local delta = tonumber(ARGV[FIRST + 1])
    local total = mode == 'S' and delta or used + delta
    if total < 0 then total = 0 end
    local reason = decide(disabled, false, flags, budget, mode == 'U' and delta == 0 and total + 1 or total)
    local refused, applied, ledger_id, open, id, fingerprint, ttl, longest = 0, 0, ''
    local a, b, c, d = 0, 0, 0, 0
    if mode == 'U' and reason >= NOT_ENTITLED then
      refused = 1
      if reason == BUDGET_EXCEEDED and (length or flags % (2 * ENDS) >= ENDS) and math.max(1, delta) <= limit then
        -- A yes in the next period, if what applies then is known.
        local resets = length and start + length or struct.unpack(MOMENT, value, ENTITLEMENT_BYTES + 1)
        local known = not valid_until or resets < valid_until or resets == valid_until and flags >= PREDICTABLE
        if known then applied = resets - now end
      end
    end
    local counted = refused == 0 and (mode ~= 'U' or delta > 0)
    if event then
      id, fingerprint, ttl, longest = struct.unpack(EVENT, event)
      if moments then
        a, b, c, d = struct.unpack(MOMENTS, moments)
        open = dedupe_open(now, ttl, a, b, c, d)
        local kept = dedupe_find(FIRST_EVENT_KEY, id, open, a, b, c, d)
        if kept then return dedupe_replay(kept, fingerprint) end
      end
    end
    -- The long way refuses a total above the largest amount, unless the event id has a stored answer.
    if not counted or total <= MAX_AMOUNT then
      if counted then applied, used = total - used, total end
      local changed
      if event then
        local overage = flags % (2 * OVERAGE) >= OVERAGE
        local kept = fingerprint
          .. string.char(refused)
          .. pack_kept(reason, overage, shown, finish, counted, delta, used, applied, budget, 0)
        if open then
          local key = KEYS[FIRST_EVENT_KEY + open - 1]
          if redis.call('HSETNX', key, id, kept) == 0 then
            return dedupe_replay(redis.call('HGET', key, id), fingerprint)
          end
        else
-- include: dedupe_begin
          changed = dedupe_begin(FIRST_EVENT_KEY, id, kept, now, ttl, longest, a, b, c, d)
        end
      end
      -- From here on it writes; the event id has been written.
      if counted then
        ledger_id = append(KEYS[2], manual_now, now, retention, ARGV[FIRST + 2], applied, used, reason, budget)
        local counted_value = packed .. struct.pack(COUNTER, used, used_from)
        if changed then
          redis.call('HSET', KEYS[1], feature_field, counted_value, 'd', changed)
        else
          redis.call('HSET', KEYS[1], feature_field, counted_value)
        end
      elseif changed then
        redis.call('HSET', KEYS[1], 'd', changed)
      end
      return 'K'
        .. struct.pack(
          '<Bi8BBBi8i8i8i8i8', refused, now, reason, #packed, #ledger_id, used, applied, used_from, budget, 0
        )
        .. packed
        .. ledger_id
    end
  end
end

-- include: fields
-- include: period
-- include: grants
-- include: history
-- include: account
-- include: leases
-- include: retry
-- include: outcome
-- include: kept_charge
-- include: dedupe_begin
-- include: event

-- What has to be done first is done, and the use made again, before those behind it in its chain.
local function repeat_first(answer)
  if step_back then step_back() end
  return answer
end
if not meta then return repeat_first('U') end

local _, past_kept_days, after = struct.unpack(RETENTION, retention)
local archived = #retention >= after and struct.unpack('<I4', retention, after) or 0
local facts = #retention >= after + 4 and struct.unpack('<I4', retention, after + 4) or 0
local replayed = event and event_answer(FIRST_EVENT_KEY, event, moments)
if replayed then return replayed end

-- Works out what one charge would do. It writes nothing; nil: the entitlement is stale.
local function weigh(number)
  local at, first = FIRST + (number - 1) * WIDTH, 3 * number
  local charge = read_account(ARGV[at], fields[first], fields[first + 1], fields[first + 2], now)
  if not charge then return nil end
  local delta = tonumber(ARGV[at + 1])
  charge.entry, charge.asked, charge.applied, charge.ledger_id = ARGV[at + 2], delta, 0, ''
  charge.total = math.max(0, mode == 'S' and delta or charge.used + delta)
  local needed = charge.total + charge.reserved
  if mode == 'U' and delta == 0 then needed = needed + 1 end
  charge.amount, charge.least = math.max(1, delta), math.max(1, delta)
  charge.reason = decide(disabled, has(archived, 2 ^ (number - 1)), charge.flags, charge.budget, needed)
  charge.fact = mode ~= 'U' or has(facts, 2 ^ (number - 1))
  if not charge.flags and charge.fact then charge.reason = NOT_ENTITLED end
  charge.refused = mode == 'U' and charge.reason >= NOT_ENTITLED
  charge.counted = charge.flags and (charge.fact or not charge.refused and delta > 0)
  return charge
end

local charges, refused = {}, 0
for i = 1, count do
  if fields[3 * i + 2] and is_due(fields[2], now) then return repeat_first('L') end
  charges[i] = weigh(i)
  if not charges[i] or is_ahead(meta, now) then return repeat_first('S') end
  if refused == 0 and charges[i].refused then refused = i end
end
for i = 1, count do
  local charge = charges[i]
  charge.counted = charge.counted and (refused == 0 or charge.fact)
  if charge.counted and charge.total + charge.reserved > MAX_AMOUNT then return 'O' end
end

-- From here on it writes.
local function record(charge)
  charge.applied = charge.total - charge.used
  count_up_to(charge, charge.total, now)
  charge.ledger_id = append(
    KEYS[2], manual_now, now, retention, charge.entry, charge.applied, charge.used, charge.reason, charge.budget
  )
  save_account(KEYS[1], KEYS[3], past_kept_days, charge)
end

-- Envoy, whose requests alone can have facts, is not told.
if refused > 0 and facts == 0 and not disabled and archived == 0 then charges[refused].applied = retry_after(charges, now) end

local outcome, kept, remembered = { pack_outcome(refused, now) }, { string.char(refused) }, mode == 'U'
for i = 1, count do
  local charge = charges[i]
  if charge.counted then record(charge) end
  remembered = remembered or charge.counted
  outcome[i + 1] = pack_charge(
    charge.reason, charge.packed, charge.ledger_id, charge.used, charge.applied, charge.start, charge.budget, charge.reserved
  )
  if event then
    kept[i + 1] = keep_charge(
      charge.reason, charge.packed, charge.counted, charge.asked, charge.used, charge.applied, charge.start, charge.budget,
      charge.reserved
    )
  end
end
-- A fact that was not recorded leaves its event id free: it is recorded once there is something to count against.
if event and remembered then
  event_store(KEYS[1], FIRST_EVENT_KEY, event, moments, table.concat(kept), now)
end
return 'K' .. table.concat(outcome)
