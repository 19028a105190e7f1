-- Records uses of one feature each, of one or several users, in their order. Each is recorded as record_usage would, as long as
-- that takes its short way. A use for which it does not is left to record_usage, and so are those of the same user behind it.
--
-- KEYS  1 the first user's hash   2 the bucket's ledger; with event ids also 3 to 6 the stored answers of the user's event ids
--       then the same of each further user
--       then, for a part of a chain: a key of the chain's own, which counts the parts of it that were made
-- ARGV  1 now in ms, or nothing for Redis's clock
--       2 how long things are kept, as RETENTION
--       3 the number of keys of each user: 2 or 6
--       4 the place of this part in its chain, from 1; that of the last one negative; 0: there is no chain
--       5 for each use a byte: the number of its user, from 1. The uses of a user follow each other.
--       then each use: USE, then with an event id the EVENT, then the ledger entry, as for record_usage
-- Returns for each use a string, as record_usage does: 'K', 'R' or 'X', or
--       'N' it was not made, and nothing was written for it
-- An error in place of a string: the use failed, and those behind it were not made.
local USE = '<Bi8Bc0' -- the mode, and KIND_EVENT if it has an event id; delta; the feature id, after its length
local SET, CHECK, KIND_EVENT = 1, 2, 4 -- modes; 0 adds
local OUTCOME = '<BBi8BBBi8i8i8i8i8' -- 'K' and an outcome of one charge
local DONE = 75 -- 'K'
local FIRST = 6 -- where the uses start
-- include: layout
-- include: decision
-- include: ledger
-- include: clock
-- include: period
local dedupe_open, dedupe_find, dedupe_replay, pack_kept
-- include: dedupe
-- include: kept
-- include: dedupe_begin

local manual_now, retention, width, place, users = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local count = #ARGV - FIRST + 1
assert(
  count >= 1 and #users == count and #KEYS == width * string.byte(users, count) + (place == 0 and 0 or 1),
  'record_batch takes the keys of each user, 1 of a chain; 5 arguments, and one for each use'
)
local answers, step_back = {}
if place ~= 0 then
-- include: chain
  local is_next
  is_next, step_back = enter_chain(KEYS[#KEYS], place)
  if not is_next then
    for i = 1, count do answers[i] = 'N' end
    return answers
  end
end
local now = clock(manual_now)


-- The user whose use is made, the place of its first key less 1, and the feature; what is known of them; whether the count changed.
local user, first, feature, changed = 0, 0
local count_field, grants_field, reservation_field
local disabled, flags, limit, budget, packed, used, start, shown, finish, resets, moments

local function save()
  if changed then redis.call('HSET', KEYS[first + 1], count_field, packed .. struct.pack(COUNTER, used, start)) end
  changed = false
end

-- Reads the feature; returns false for what the short way of record_usage leaves to the long one.
local function read()
  local fields = redis.call('HMGET', KEYS[first + 1], 'm', count_field, grants_field, reservation_field, 'd')
  local meta, value = fields[1], fields[2]
  if not meta or not value or fields[3] or fields[4] then return false end
  if #meta > META_BYTES and struct.unpack(MOMENT, meta, META_BYTES + 1) > now + CLOCKS_DIFFER_MS then return false end
  local reset_period
  flags, reset_period, limit, start = struct.unpack(ENTITLEMENT, value)
  if reset_period > LAST_RESET_PERIOD or flags % (2 * GRANTED) >= GRANTED then return false end
  if flags >= PREDICTABLE and flags % (2 * ACTIVE) < ACTIVE then return false end
  local size, ends, valid_until = ENTITLEMENT_BYTES, flags % (2 * ENDS) >= ENDS
  finish = 0
  if ends then
    finish = struct.unpack(MOMENT, value, size + 1)
    size = size + MOMENT_BYTES
  end
  resets = finish
  if flags % (2 * RUNS_OUT) >= RUNS_OUT then
    valid_until = struct.unpack(MOMENT, value, size + 1)
    size = size + MOMENT_BYTES
    if now >= valid_until then return false end
  end
  local used_from, length = start
  shown, packed, used = start, value, 0
  if #value > size then
    packed, used, used_from = string.sub(value, 1, size), struct.unpack(COUNTER, value, size + 1)
  end
  if reset_period > 1 and reset_period <= WEEK then
    start, length = current_start(reset_period, start, now)
    resets = start + length
    if #value == size then used_from = start end
    if start >= finish and finish > 0 then shown, finish = start, start + length end
  end
  if used_from ~= start or start > now then return false end
  if not (ends or length) or valid_until and (resets > valid_until or resets == valid_until and flags < PREDICTABLE) then
    resets = nil
  end
  disabled, budget = string.byte(meta) % (2 * DISABLED) >= DISABLED, flags % (2 * NO_LIMIT) >= NO_LIMIT and NONE or limit
  moments = moments or fields[5]
  return true
end

local waits, done = false, 0
local function run()
  for i = 1, count do
    local use, number, answer = ARGV[i + FIRST - 1], string.byte(users, i)
    local kind, delta, next_feature, at = struct.unpack(USE, use)
    if number ~= user or next_feature ~= feature then
      save()
      if number ~= user then user, first, moments, waits = number, (number - 1) * width, nil, false end
      if next_feature ~= feature then
        feature, count_field = next_feature, 'f:' .. next_feature
        grants_field, reservation_field = 'g:' .. next_feature, 'r:' .. next_feature
      end
      waits = waits or not read()
    end
    if not waits then
      local event = kind >= KIND_EVENT
      local mode = event and kind - KIND_EVENT or kind
      local total = mode == SET and delta or used + delta
      if total < 0 then total = 0 end
      local reason = decide(disabled, false, flags, budget, mode == CHECK and delta == 0 and total + 1 or total)
      local refused, applied, ledger_id, counted, known = 0, 0, '', true
      if mode == CHECK then
        if reason >= NOT_ENTITLED then
          refused = 1
          if reason == BUDGET_EXCEEDED and resets and delta <= limit and 1 <= limit then applied = resets - now end
        end
        counted = refused == 0 and delta > 0
      end
      local id, fingerprint, ttl, longest, open, a, b, c, d
      if event then
        id, fingerprint, ttl, longest, at = struct.unpack(EVENT, use, at)
        a, b, c, d = 0, 0, 0, 0
        if moments then
          a, b, c, d = struct.unpack(MOMENTS, moments)
          open = dedupe_open(now, ttl, a, b, c, d)
          known = dedupe_find(first + 3, id, open, a, b, c, d)
        end
      end
      if not known and counted and total > MAX_AMOUNT then
        waits = true
      elseif not known then
        local after = counted and total or used
        if counted then applied = total - used end
        if event then
          local kept = fingerprint .. string.char(refused)
            .. pack_kept(reason, flags % (2 * OVERAGE) >= OVERAGE, shown, finish, counted, delta, after, applied, budget, 0)
          if open then
            local key = KEYS[first + 2 + open]
            known = redis.call('HSETNX', key, id, kept) == 0 and redis.call('HGET', key, id)
          else
            moments = dedupe_begin(first + 3, id, kept, now, ttl, longest, a, b, c, d)
            redis.call('HSET', KEYS[first + 1], 'd', moments)
          end
        end
        if not known then
          if counted then
            ledger_id = append(KEYS[first + 2], manual_now, now, retention, string.sub(use, at), applied, total, reason, budget)
            used, changed = total, true
          end
          answer = struct.pack(OUTCOME, DONE, refused, now, reason, #packed, #ledger_id, after, applied, start, budget, 0)
            .. packed .. ledger_id
        end
      end
      if known then answer = dedupe_replay(known, fingerprint) end
    end
    answers[i], done = answer or 'N', i
  end
end

local has_ended, failure = pcall(run)
save()
if not has_ended then
  -- It may have been made in part.
  waits = true
  answers[done + 1] = type(failure) == 'table' and failure or { err = failure }
  for i = done + 2, count do answers[i] = 'N' end
end
if waits and step_back then step_back() end
return answers
