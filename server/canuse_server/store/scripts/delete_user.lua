-- Erases a user but for the events in the ledger, which the caller removes.
--
-- KEYS  1 the user's hash   2 the bucket's set of user ids   3 the bucket's ledger   4 the bucket's audit log
--       5 and on: everything else kept for the user
--       then the sorted sets of the bucket's indexes of users
-- ARGV  1 user id   2 how many indexes there are
--       3 the entry of the audit log, '' for none   4 its maximum age in ms   5 now in ms, or '' for Redis's clock
-- Returns 1, or 0 if there was no such user, and the id of the last event in the ledger, '' if it is empty: events of the user up
-- to that one are of the user that is erased, later ones of a user who was made anew.
-- include: clock
-- include: audit
assert(#KEYS >= 4 and #ARGV == 5, 'delete_user takes at least 4 keys and 5 arguments')

local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or ''
if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, last } end
redis.call('SREM', KEYS[2], ARGV[1])
local last_own = #KEYS - ARGV[2]
redis.call('UNLINK', KEYS[1], unpack(KEYS, 5, last_own))
for i = last_own + 1, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
audit(KEYS[4], ARGV[3], ARGV[4], ARGV[5])
return { 1, last }
