-- Replaces parts of a user, if the user is still as the caller read it.
--
-- A change of entitlements never loses or doubles a count: what was used moves with its period in this same step, and what was
-- drawn from a grant stays drawn.
--
-- KEYS  1 the user's hash   2 the bucket's set of user ids   3 the user's profile   4 the user's past periods   5 the user's grants
--       6 the user's ended subscriptions   7 the bucket's audit log
--       then, with an event id: the stored answers of the user's event ids, four hashes
--       then, where indexes of users change: the mark that the bucket has indexes, and the sorted set of each change
-- ARGV  1 the field `m` as the caller read it, or '' where there must be no user   2 the new field `m`   3 user id
--       4 profile: '' leave it, 'D' remove it, 'S' and the new one   5 age of past periods in days
--       6 now in ms, as the caller read it with the user: 0 leaves past periods that are due to be dropped or summed as they are
--       7 the entry of the audit log, '' for none   8 its maximum age in ms   9 now in ms, or '' for Redis's clock
--       then how many indexes of users change, and for each the user's new score, or '' to leave it
--       then how many subscriptions to set, and pairs of token and value
--       then the field `e`, how many ended subscriptions to move to KEYS[6], and pairs of token and value
--       then how many entitlements to set, and pairs of feature id and value
--       then how many entitlements to remove, and their feature ids
--       then how many counters were read, and for each: feature id, start of the period it was in ('' : none was there)
--       then how many carry-overs, and for each: feature id, start of the period that was current, its length in
--       ms, its budget (-1 unlimited), start of the period the count goes on in ('' : that period is over)
--       then how many grants to set in KEYS[5], and pairs of id and value
--       then how many features whose grants change, and for each: feature id, number of grants, and for each of these in
--       the order of drawing: its place in the old order (0: it is new), effective at, expires at, amount (-1 unlimited)
--       then, with an event id: the event id, as EVENT, and the answer to store
-- Returns 1, or 0 if the user has changed since, or a count has gone on to another period; then nothing was written. Nor was it
-- where the event id is known: then it returns a string, 'R' and the answer kept under it, or 'X' where the content is another.
-- include: layout
-- include: fields
-- include: grants
-- include: history
-- include: clock
-- include: audit
local dedupe_open, dedupe_find, dedupe_replay
-- include: dedupe
-- include: dedupe_begin
-- include: event
local FIRST_EVENT_KEY = 8
local indexes = tonumber(ARGV[10])
local index_keys = indexes > 0 and indexes + 1 or 0
local has_event = #KEYS == 11 + index_keys
assert(
  (#KEYS == 7 + index_keys or has_event) and #ARGV >= 19 + indexes,
  'apply_user takes 7 keys, 4 with an event id, 1 and 1 for each index, and at least 19 arguments'
)

if has_event then
  local answered = event_answer(FIRST_EVENT_KEY, ARGV[#ARGV - 1], redis.call('HGET', KEYS[1], 'd'))
  if answered then return answered end
end
if (redis.call('HGET', KEYS[1], 'm') or '') ~= ARGV[1] then return 0 end

local at = 9
local function next_argument()
  at = at + 1
  return ARGV[at]
end
local function next_number() return tonumber(next_argument()) end
local function next_values(count)
  local values = {}
  for i = 1, count do values[i] = next_argument() end
  return values
end

local scores = next_values(next_number())
local subscriptions = next_values(2 * next_number())
local ended_until, ended = next_argument(), next_values(2 * next_number())
local entitlements = next_values(2 * next_number())
local removals = next_values(next_number())
local counters = next_values(2 * next_number())
local carry_overs = {}
for i = 1, next_number() do carry_overs[i] = next_values(5) end
local grant_sets = next_values(2 * next_number())
local orders = {}
for i = 1, next_number() do
  orders[i] = { feature = next_argument(), grants = {} }
  for j = 1, next_number() do orders[i].grants[j] = next_values(4) end
end
local event = next_values(has_event and 2 or 0)
assert(at == #ARGV, 'apply_user: the counts do not add up')

local function count_of(feature)
  local value = redis.call('HGET', KEYS[1], 'f:' .. feature)
  if not value then return '', '' end
  return split_feature(value)
end

-- The start of a reservation whose period is over. No period starts then: with the start of one, that one would become a past
-- period with leases, although none was taken in it.
local NO_PERIOD = 281474976710655

-- Lets what leases set aside go on with the count in a period that starts at `new_start`; nil: their period is over.
-- Returns their epoch, or 0 where none was taken in the period of the count.
local function move_reservation(feature, used_from, new_start)
  local value = redis.call('HGET', KEYS[1], 'r:' .. feature)
  if not value then return 0 end
  local epoch, start, units = struct.unpack(RESERVATION, value)
  local is_ours = start == used_from
  if is_ours and new_start then
    redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, epoch, new_start, units))
  else
    redis.call('HSET', KEYS[1], 'r:' .. feature, struct.pack(RESERVATION, epoch + 1, NO_PERIOD, 0))
  end
  return is_ours and epoch or 0
end

-- Recording does not change `m`, and what becomes of a count was worked out for the period it was in.
for i = 1, #counters, 2 do
  local _, counter = count_of(counters[i])
  local start = ''
  if counter ~= '' then start = string.format('%.0f', select(2, struct.unpack(COUNTER, counter))) end
  if start ~= counters[i + 1] then return 0 end
end
local removed, closed = {}, {}
for _, feature in ipairs(removals) do removed[feature] = true end

-- From here on it writes.
redis.call('HSET', KEYS[1], 'm', ARGV[2])
if ARGV[1] == '' then redis.call('SADD', KEYS[2], ARGV[3]) end
local profile = string.sub(ARGV[4], 1, 1)
if profile == 'S' then redis.call('SET', KEYS[3], string.sub(ARGV[4], 2)) end
if profile == 'D' then redis.call('DEL', KEYS[3]) end
-- Without the mark nobody has searched yet; whoever does first enters the users that there are.
local has_indexes = indexes > 0 and redis.call('EXISTS', KEYS[#KEYS - indexes]) == 1
for i, score in ipairs(has_indexes and scores or {}) do
  local index = KEYS[#KEYS - indexes + i]
  if score == '' then redis.call('ZREM', index, ARGV[3]) else redis.call('ZADD', index, score, ARGV[3]) end
end

for _, carry_over in ipairs(carry_overs) do
  local feature, start, length, budget, new_start = unpack(carry_over)
  local entitlement, counter = count_of(feature)
  if counter ~= '' then
    local used, used_from = struct.unpack(COUNTER, counter)
    local length_ms = tonumber(length)
    if length_ms > 0 and used_from >= start + length_ms and not removed[feature] then
      -- A counter ahead of the clock keeps its period, as it does when it is recorded to.
    elseif new_start == '' or used_from < tonumber(start) then
      local grants = read_grants(redis.call('HGET', KEYS[1], 'g:' .. feature))
      past_periods().archive(KEYS[4], feature, tonumber(ARGV[5]), {
        start = used_from, finish = used_from + length, used = used, budget = tonumber(budget),
        drawn = drawn_from_all(grants), epoch = move_reservation(feature, used_from, nil),
      }, tonumber(ARGV[6]))
      redis.call('HSET', KEYS[1], 'f:' .. feature, entitlement)
      closed[feature] = true
      close_period(grants)
      if #grants > 0 then redis.call('HSET', KEYS[1], 'g:' .. feature, pack_grants(grants)) end
    else
      move_reservation(feature, used_from, tonumber(new_start))
      redis.call('HSET', KEYS[1], 'f:' .. feature, entitlement .. struct.pack(COUNTER, used, tonumber(new_start)))
    end
  end
end

for i = 1, #subscriptions, 2 do redis.call('HSET', KEYS[1], 's:' .. subscriptions[i], subscriptions[i + 1]) end
for i = 1, #ended, 2 do
  redis.call('HSET', KEYS[6], ended[i], ended[i + 1])
  redis.call('HDEL', KEYS[1], 's:' .. ended[i])
end
if #ended > 0 then redis.call('HSET', KEYS[1], 'e', ended_until) end
for i = 1, #entitlements, 2 do
  local feature = entitlements[i]
  local _, counter = count_of(feature)
  if counter == '' and closed[feature] then
    -- A clock that steps back must find that the count has been reset for the start of this period.
    counter = struct.pack(COUNTER, 0, (select(4, struct.unpack(ENTITLEMENT, entitlements[i + 1]))))
  end
  redis.call('HSET', KEYS[1], 'f:' .. feature, entitlements[i + 1] .. counter)
end
for _, feature in ipairs(removals) do redis.call('HDEL', KEYS[1], 'f:' .. feature) end
for i = 1, #grant_sets, 2 do redis.call('HSET', KEYS[5], grant_sets[i], grant_sets[i + 1]) end
for _, order in ipairs(orders) do
  local field = 'g:' .. order.feature
  local old, new = read_grants(redis.call('HGET', KEYS[1], field)), {}
  for i, values in ipairs(order.grants) do
    local place, effective, expires, amount = unpack(values)
    local before = old[tonumber(place)] or { left = tonumber(amount), drawn = 0 }
    new[i] = {
      effective = tonumber(effective), expires = tonumber(expires), left = before.left, drawn = before.drawn,
    }
  end
  redis.call('HSET', KEYS[1], field, pack_grants(new))
end
if has_event then
  local id, answer = unpack(event)
  event_store(KEYS[1], FIRST_EVENT_KEY, id, redis.call('HGET', KEYS[1], 'd'), answer, clock(ARGV[9]))
end
audit(KEYS[7], ARGV[7], ARGV[8], ARGV[9])
return 1
