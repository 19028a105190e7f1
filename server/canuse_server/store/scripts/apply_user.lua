-- Replaces parts of a user, if the user is still as the caller read it.
--
-- A change of entitlements never loses or doubles a count: what was used moves with its period in this same step.
--
-- KEYS  1 the user's hash   2 the bucket's set of user ids   3 the user's profile   4 the user's past periods
-- ARGV  1 the field `m` as the caller read it, or '' where there must be no user   2 the new field `m`   3 user id
--       4 profile: '' leave it, 'D' remove it, 'S' and the new one   5 past periods kept
--       6 how many fields to set, then pairs of name and value
--       then how many fields to remove, then their names
--       then how many counters were read, then for each: feature id, start of the period it was in ('' : none was there)
--       then how many settlements, then for each: feature id, start of the period that was current, its length in
--       ms, its budget (-1 unlimited), start of the period the count goes on in ('' : that period is over)
-- Returns 1, or 0 if the user has changed since, or a count has gone on to another period; then nothing was written.
-- include: layout
-- include: history
assert(#KEYS == 4 and #ARGV >= 9, 'apply_user takes 4 keys and at least 9 arguments')

if (redis.call('HGET', KEYS[1], 'm') or '') ~= ARGV[1] then return 0 end

local at = 6
local function next_argument()
  at = at + 1
  return ARGV[at]
end
local function next_values(count)
  local values = {}
  for i = 1, count do values[i] = next_argument() end
  return values
end

local sets = next_values(2 * tonumber(ARGV[6]))
local removals = next_values(tonumber(next_argument()))
local counters = next_values(2 * tonumber(next_argument()))
local settlements = tonumber(next_argument())
assert(at + 5 * settlements == #ARGV, 'apply_user: the counts do not add up')

-- Recording does not change `m`, and what becomes of a count was worked out for the period it was in.
for i = 1, #counters, 2 do
  local counter = redis.call('HGET', KEYS[1], 'c:' .. counters[i])
  local start = ''
  if counter then start = string.format('%.0f', select(2, struct.unpack(COUNTER, counter))) end
  if start ~= counters[i + 1] then return 0 end
end

-- From here on it writes.
redis.call('HSET', KEYS[1], 'm', ARGV[2])
for i = 1, #sets, 2 do redis.call('HSET', KEYS[1], sets[i], sets[i + 1]) end
for i = 1, #removals do redis.call('HDEL', KEYS[1], removals[i]) end
if ARGV[1] == '' then redis.call('SADD', KEYS[2], ARGV[3]) end
local profile = string.sub(ARGV[4], 1, 1)
if profile == 'S' then redis.call('SET', KEYS[3], string.sub(ARGV[4], 2)) end
if profile == 'D' then redis.call('DEL', KEYS[3]) end
for _ = 1, settlements do
  local feature, start, length, budget, new_start = unpack(next_values(5))
  local field = 'c:' .. feature
  local counter = redis.call('HGET', KEYS[1], field)
  if counter then
    local used, used_from = struct.unpack(COUNTER, counter)
    local length_ms = tonumber(length)
    if length_ms > 0 and used_from >= start + length_ms then
      -- A counter ahead of the clock keeps its period, as it does when it is recorded to.
    elseif new_start == '' or used_from < tonumber(start) then
      archive(KEYS[4], feature, tonumber(ARGV[5]), used_from, used_from + length, used, tonumber(budget))
      redis.call('HDEL', KEYS[1], field)
    else
      redis.call('HSET', KEYS[1], field, struct.pack(COUNTER, used, tonumber(new_start)))
    end
  end
end
return 1
