-- Begins a generation of a user's tokens if there is none, or ends the present one and with it all tokens of the user.
--
-- KEYS  1 the user's hash   2 the bucket's audit log
-- ARGV  1 the random generation to begin, or '' to end the present one
--       2 the entry of the audit log, '' for none   3 its maximum age in ms   4 now in ms, or '' for Redis's clock
-- Returns the generation, '' if it was to be ended, and 1 if that changed something, else 0; or nil if there is no such user.
-- include: clock
-- include: audit
assert(#KEYS == 2 and #ARGV == 4, 'token_generation takes 2 keys and 4 arguments')

if not redis.call('HGET', KEYS[1], 'm') then return false end
local changed
if ARGV[1] == '' then changed = redis.call('HDEL', KEYS[1], 'k') else changed = redis.call('HSETNX', KEYS[1], 'k', ARGV[1]) end
if changed == 1 then audit(KEYS[2], ARGV[2], ARGV[3], ARGV[4]) end
return { redis.call('HGET', KEYS[1], 'k') or '', changed }
