-- Records uses of features, or checks and records them, in one step: all of them or none.
--
-- KEYS  1 the user's hash   2 the bucket's ledger   3 the user's past periods   4, 5 the user's idempotency keys
-- ARGV  1 now in ms, or '' for Redis's clock
--       2 mode: 'A' add, 'S' set, 'U' check, and add if that is a yes
--       3 event id, or ''   4 fingerprint of the content (8 bytes)
--       5 ttl of event ids in ms   6 age in ms up to which the ledger is kept   7 past periods kept
--       then for each charge: feature id, delta, '1' if the feature is archived or else '', and the ledger entry up to what is
--       only known here (a serialised canuse.v1.LedgerEntry). No feature is charged twice.
-- Returns one string. Its first byte says what happened:
--       'K' done: an outcome follows
--       'R' the event id is known, with this content: the outcome of the first time follows
--       'X' the event id is known, with other content
--       'U' there is no such user   'S' an entitlement is stale: renew it, then repeat
--       'L' a lease has expired: sweep, then repeat   'O' a total would pass 2^53 - 1
-- All but 'K' have written nothing. An outcome is: the number of the charge that was refused (0: none), now; then for each charge
-- reason, length of the entitlement, length of the ledger id, used, applied delta, period start, budget (-1 unlimited), units
-- reserved, the entitlement, the ledger id.
-- include: layout
-- include: clock
-- include: period
-- include: decision
-- include: ledger
local FIRST, WIDTH = 8, 4 -- where the charges start, and how many arguments each has
local count = (#ARGV - FIRST + 1) / WIDTH
assert(#KEYS == 5 and count >= 1 and count % 1 == 0, 'record_usage takes 5 keys, 7 arguments and 4 for each charge')

local mode, event_id = ARGV[2], ARGV[3]
local now = clock(ARGV[1])

-- What there is.
local fields
if count == 1 then
  local feature = ARGV[FIRST]
  fields = redis.call('HMGET', KEYS[1], 'm', 'x', 'f:' .. feature, 'g:' .. feature, 'r:' .. feature)
else
  local names = { 'm', 'x' }
  for i = 1, count do
    local feature = ARGV[FIRST + (i - 1) * WIDTH]
    names[3 * i], names[3 * i + 1], names[3 * i + 2] = 'f:' .. feature, 'g:' .. feature, 'r:' .. feature
  end
  fields = redis.call('HMGET', KEYS[1], unpack(names))
end
local meta = fields[1]
if not meta then return 'U' end
local disabled = has(string.byte(meta), DISABLED)

-- The short way, at half the time, for nearly all uses: of one feature, without an event id, grants and leases, in a
-- period that has been counted in or the first one. It decides and writes what the long way below would.
local value = fields[3]
if count == 1 and event_id == '' and value and not fields[4] and not fields[5] then
  local flags, reset_period, limit, start = struct.unpack(ENTITLEMENT, value)
  local size = ENTITLEMENT_BYTES
  if flags % (2 * ENDS) >= ENDS then size = size + MOMENT_BYTES end
  if flags % (2 * RUNS_OUT) >= RUNS_OUT then
    size = size + MOMENT_BYTES
    if now >= struct.unpack(MOMENT, value, size - MOMENT_BYTES + 1) then return 'S' end
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
    local applied, id = 0, ''
    if mode ~= 'U' or reason < NOT_ENTITLED then
      if total > MAX_AMOUNT then return 'O' end
      -- From here on it writes.
      applied, used = total - used, total
      id = append(KEYS[2], ARGV[1], now - ARGV[6], ARGV[FIRST + 3], applied, used, reason, budget)
      redis.call('HSET', KEYS[1], 'f:' .. ARGV[FIRST], packed .. struct.pack(COUNTER, used, used_from))
    end
    return 'K' .. struct.pack('<Bi8BBBi8i8i8i8i8', 0, now, reason, #packed, #id, used, applied, used_from, budget, 0)
      .. packed .. id
  end
end

-- include: grants
-- include: history
-- include: dedupe
-- include: account
-- include: leases
-- include: outcome

local replayed = dedupe_answer(KEYS[4], KEYS[5], event_id, ARGV[4])
if replayed then return replayed end

-- Works out what one charge would do. It writes nothing; nil: the entitlement is stale.
local function weigh(number)
  local at, first = FIRST + (number - 1) * WIDTH, 3 * number
  local charge = read_account(ARGV[at], fields[first], fields[first + 1], fields[first + 2], now)
  if not charge then return nil end
  local delta = tonumber(ARGV[at + 1])
  charge.entry, charge.applied, charge.ledger_id = ARGV[at + 3], 0, ''
  charge.total = math.max(0, mode == 'S' and delta or charge.used + delta)
  charge.reason = decide(disabled, ARGV[at + 2] == '1', charge.flags, charge.budget, charge.total + charge.reserved)
  if not charge.flags and mode ~= 'U' then charge.reason = NOT_ENTITLED end
  charge.counted = charge.flags and (mode ~= 'U' or charge.reason < NOT_ENTITLED)
  return charge
end

local charges, refused = {}, 0
for i = 1, count do
  if fields[3 * i + 2] and is_due(fields[2], now) then return 'L' end
  charges[i] = weigh(i)
  if not charges[i] then return 'S' end
  if mode == 'U' and refused == 0 and not charges[i].counted then refused = i end
end
if refused == 0 then
  for i = 1, count do
    if charges[i].counted and charges[i].total + charges[i].reserved > MAX_AMOUNT then return 'O' end
  end
end

-- From here on it writes.
local function record(charge)
  charge.applied = charge.total - charge.used
  count_up_to(charge, charge.total, now)
  charge.ledger_id = append(
    KEYS[2], ARGV[1], now - ARGV[6], charge.entry, charge.applied, charge.used, charge.reason, charge.budget
  )
  save_account(KEYS[1], KEYS[3], tonumber(ARGV[7]), charge)
end

local outcome = { pack_outcome(refused, now) }
for i = 1, count do
  local charge = charges[i]
  if charge.counted and refused == 0 then record(charge) end
  outcome[i + 1] = pack_charge(
    charge.reason, charge.packed, charge.ledger_id, charge.used, charge.applied, charge.start, charge.budget, charge.reserved
  )
end
outcome = table.concat(outcome)
if event_id ~= '' then
  dedupe_store(KEYS[4], KEYS[5], event_id, ARGV[4] .. outcome, now, tonumber(ARGV[5]))
end
return 'K' .. outcome
