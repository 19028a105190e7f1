-- Enters a user in indexes, if the user's profile is still as the caller read it: a change of a profile enters it itself.
--
-- KEYS  1 the user's profile   2 and on: the sorted sets of the indexes
-- ARGV  1 the profile as the caller read it   2 user id   3 and on: for each index the score
-- Returns 1, or 0 if the profile has changed since.
assert(#KEYS >= 2 and #ARGV == #KEYS + 1, 'index_user takes a profile, indexes, and a score for each index')

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #KEYS do redis.call('ZADD', KEYS[i], ARGV[i + 1], ARGV[2]) end
return 1
