-- Erases a user but for the events in the ledger, which the caller removes.
--
-- KEYS  1 the user's hash   2 the bucket's set of user ids   3 the bucket's ledger   4 and on: everything else kept for the user
-- ARGV  1 user id
-- Returns 1, or 0 if there was no such user, and the id of the last event in the ledger, '' if it is empty: events of the user up
-- to that one are of the user that is erased, later ones of a user who was made anew.
assert(#KEYS >= 3 and #ARGV == 1, 'delete_user takes at least 3 keys and 1 argument')

local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local last = newest and newest[1] or ''
if redis.call('EXISTS', KEYS[1]) == 0 then return { 0, last } end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('UNLINK', KEYS[1], unpack(KEYS, 4))
return { 1, last }
