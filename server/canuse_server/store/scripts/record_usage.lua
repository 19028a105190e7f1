-- Records uses of features, or checks and records them, in one step: all of them or none.
--
-- KEYS  1 the user's hash   2 the bucket's ledger   3 the user's past periods   4, 5 the user's idempotency keys
--       6, only for a use of a chain: a key of the chain's own, which says that a use before this one has to be repeated
-- ARGV  1 now in ms, or '' for Redis's clock
--       2 mode: 'A' add, 'S' set, 'U' check, and add if that is a yes and the delta is not 0
--       3 event id, or ''   4 fingerprint of the content (8 bytes)
--       5 ttl of event ids in ms   6 age in ms up to which the ledger is kept   7 past periods kept
--       then for each charge: feature id, delta, '1' if the feature is archived or else '', and the ledger entry up to what is
--       only known here (a serialised canuse.v1.LedgerEntry). No feature is charged twice.
-- Returns one string. Its first byte says what happened:
--       'K' done: an outcome follows
--       'R' the event id is known, with this content: the outcome of the first time follows
--       'X' the event id is known, with other content
--       'U' there is no such user   'S' an entitlement is stale: renew it, then repeat
--       'B' one before it in its chain has to be repeated first
--       'O' a total would pass 2^53 - 1
-- All but 'K' have written nothing, but that 'U' and 'S' break the chain. An outcome is: the number of the charge that was refused (0: none), now; then for each charge
-- reason, length of the entitlement, length of the ledger id, used, applied delta, period start, budget (-1 unlimited), the
-- entitlement, the ledger id.
-- include: layout
-- include: clock
-- include: period
-- include: decision
-- include: ledger
local FIRST, WIDTH = 8, 4 -- where the charges start, and how many arguments each has
local count = (#ARGV - FIRST + 1) / WIDTH
assert(
  (#KEYS == 5 or #KEYS == 6) and count >= 1 and count % 1 == 0,
  'record_usage takes 5 or 6 keys, 7 arguments and 4 for each charge'
)

local mode, event_id = ARGV[2], ARGV[3]
local now = clock(ARGV[1])

-- The uses of a chain are sent together, in their order: once one has to be repeated, those behind it have to wait.
local CHAIN_MS = 60000 -- more than it takes until the last one has come
local chain = KEYS[6]
if chain and redis.call('EXISTS', chain) == 1 then return 'B' end
local function repeat_first(answer)
  if chain then redis.call('SET', chain, '', 'PX', CHAIN_MS) end
  return answer
end

-- What there is.
local fields
if count == 1 then
  fields = redis.call('HMGET', KEYS[1], 'm', 'f:' .. ARGV[FIRST], 'g:' .. ARGV[FIRST])
else
  local names = { 'm' }
  for i = 1, count do
    local feature = ARGV[FIRST + (i - 1) * WIDTH]
    names[2 * i], names[2 * i + 1] = 'f:' .. feature, 'g:' .. feature
  end
  fields = redis.call('HMGET', KEYS[1], unpack(names))
end
local meta = fields[1]
if not meta then return repeat_first('U') end
local disabled = has(string.byte(meta), DISABLED)

-- The short way, at half the time, for nearly all uses: of one feature, without an event id and without grants, in a
-- period that has been counted in or the first one. It decides and writes what the long way below would.
local value = fields[2]
if count == 1 and event_id == '' and value and not fields[3] then
  local flags, reset_period, limit, start = struct.unpack(ENTITLEMENT, value)
  local size = ENTITLEMENT_BYTES
  if flags % (2 * ENDS) >= ENDS then size = size + MOMENT_BYTES end
  if flags % (2 * RUNS_OUT) >= RUNS_OUT then
    size = size + MOMENT_BYTES
    if now >= struct.unpack(MOMENT, value, size - MOMENT_BYTES + 1) then return repeat_first('S') end
  end
  if reset_period <= WEEK then start = current_start(reset_period, start, now) end
  local packed, used, used_from = value, 0, start
  if #value > size then
    packed, used, used_from = string.sub(value, 1, size), struct.unpack(COUNTER, value, size + 1)
  end
  if used_from >= start and flags % (2 * GRANTED) < GRANTED then
    local budget = flags % (2 * NO_LIMIT) >= NO_LIMIT and NONE or limit
    local delta = tonumber(ARGV[FIRST + 1])
    local total = mode == 'S' and delta or used + delta
    if total < 0 then total = 0 end
    local reason = decide(disabled, ARGV[FIRST + 2] == '1', flags, budget, total)
    local refused, applied, id = 0, 0, ''
    if mode == 'U' and reason >= NOT_ENTITLED then
      refused = 1
    elseif mode ~= 'U' or delta > 0 then
      if total > MAX_AMOUNT then return 'O' end
      -- From here on it writes.
      applied, used = total - used, total
      id = append(KEYS[2], ARGV[1], now - ARGV[6], ARGV[FIRST + 3], applied, used, reason, budget)
      redis.call('HSET', KEYS[1], 'f:' .. ARGV[FIRST], packed .. struct.pack(COUNTER, used, used_from))
    end
    return 'K' .. struct.pack('<Bi8BBBi8i8i8i8', refused, now, reason, #packed, #id, used, applied, used_from, budget)
      .. packed .. id
  end
end

-- include: grants
-- include: history
-- include: dedupe

if event_id ~= '' then
  local known = dedupe_find(KEYS[4], KEYS[5], event_id)
  if known then
    if string.sub(known, 1, 8) ~= ARGV[4] then return 'X' end
    return 'R' .. string.sub(known, 9)
  end
end

-- What of a count the package bears: up to its limit, or only what it bore already where grants alone give access.
local function package_part(charge)
  if not charge.granted then return charge.limit end
  local borne = math.max(0, charge.used - drawn_from_all(charge.grants))
  return charge.limit == NONE and borne or math.min(charge.limit, borne)
end

local function budget_of(charge)
  local part, left = package_part(charge), left_in_all(charge.grants, now)
  if part == NONE or left == NONE then return NONE end
  return math.min(part + drawn_from_all(charge.grants) + left, MAX_AMOUNT)
end

-- Works out what one charge would do. It writes nothing; nil: the entitlement is stale.
local function weigh(number)
  local at = FIRST + (number - 1) * WIDTH
  local value, granted = fields[2 * number], fields[2 * number + 1]
  local charge = {
    feature = ARGV[at], entry = ARGV[at + 3], packed = '', counted = false,
    used = 0, start = 0, limit = 0, budget = 0, applied = 0, ledger_id = '',
  }
  local flags
  if value then
    -- The current period and what was used in it.
    local counter, reset_period
    charge.packed, counter = split_feature(value)
    flags, reset_period, charge.limit, charge.start = struct.unpack(ENTITLEMENT, charge.packed)
    local last = #charge.packed - MOMENT_BYTES + 1
    if has(flags, RUNS_OUT) and now >= struct.unpack(MOMENT, charge.packed, last) then return nil end
    if has(flags, NO_LIMIT) then charge.limit = NONE end
    charge.start, charge.length = current_start(reset_period, charge.start, now)
    charge.granted, charge.grants = has(flags, GRANTED), read_grants(granted)
    if counter ~= '' then
      local used, used_from = struct.unpack(COUNTER, counter)
      if used_from >= charge.start then
        -- A counter ahead of the clock keeps its period: a clock that steps back never resets a count twice.
        charge.used, charge.start = used, used_from
      else
        charge.rolled = { used = used, start = used_from, drawn = drawn_from_all(charge.grants) }
        close_period(charge.grants)
      end
    end
    charge.budget = budget_of(charge)
  end

  local delta = tonumber(ARGV[at + 1])
  charge.total = math.max(0, mode == 'S' and delta or charge.used + delta)
  charge.reason = decide(disabled, ARGV[at + 2] == '1', flags, charge.budget, charge.total)
  if not value and mode ~= 'U' then charge.reason = NOT_ENTITLED end
  charge.refused = mode == 'U' and charge.reason >= NOT_ENTITLED
  charge.counted = value and not charge.refused and (mode ~= 'U' or delta > 0)
  return charge
end

local charges, refused = {}, 0
for i = 1, count do
  charges[i] = weigh(i)
  if not charges[i] then return repeat_first('S') end
  if refused == 0 and charges[i].refused then refused = i end
end
if refused == 0 then
  for i = 1, count do
    if charges[i].counted and charges[i].total > MAX_AMOUNT then return 'O' end
  end
end

-- From here on it writes.
local function draw_or_give_back(charge)
  local package = package_part(charge)
  if charge.total > charge.used and package ~= NONE then
    draw(charge.grants, charge.total - package - drawn_from_all(charge.grants), now)
  elseif charge.total < charge.used then
    -- The last used is taken back first: what went past the budget, then what was drawn, then the package's own.
    local beyond = package == NONE and 0 or math.max(0, charge.used - package - drawn_from_all(charge.grants))
    give_back(charge.grants, math.max(0, charge.used - charge.total - beyond))
  end
end

local function record(charge)
  charge.applied = charge.total - charge.used
  if #charge.grants > 0 then
    draw_or_give_back(charge)
    redis.call('HSET', KEYS[1], 'g:' .. charge.feature, pack_grants(charge.grants))
  end
  charge.used = charge.total
  charge.budget = budget_of(charge)
  charge.ledger_id = append(
    KEYS[2], ARGV[1], now - ARGV[6], charge.entry, charge.applied, charge.total, charge.reason, charge.budget
  )
  local rolled = charge.rolled
  if rolled then
    local rolled_end = charge.length and rolled.start + charge.length or charge.start
    archive(KEYS[3], charge.feature, tonumber(ARGV[7]), rolled.start, rolled_end, rolled.used, charge.limit, rolled.drawn)
  end
  local counter = struct.pack(COUNTER, charge.total, charge.start)
  redis.call('HSET', KEYS[1], 'f:' .. charge.feature, charge.packed .. counter)
end

local outcome = { struct.pack('<Bi8', refused, now) }
for i = 1, count do
  local charge = charges[i]
  if charge.counted and refused == 0 then record(charge) end
  local packed, id = charge.packed, charge.ledger_id
  local numbers = struct.pack(
    '<BBBi8i8i8i8', charge.reason, #packed, #id, charge.used, charge.applied, charge.start, charge.budget
  )
  outcome[i + 1] = numbers .. packed .. id
end
outcome = table.concat(outcome)
if event_id ~= '' then
  dedupe_store(KEYS[4], KEYS[5], event_id, ARGV[4] .. outcome, now, tonumber(ARGV[5]))
end
return 'K' .. outcome
