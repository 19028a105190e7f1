-- Erases a user but for the events in the ledger, which the caller removes.
--
-- KEYS  1 the user's hash   2 the bucket's set of user ids   3 and on: everything else that is kept for the user
-- ARGV  1 user id
-- Returns 1, or 0 if there was no such user; then nothing was written.
assert(#KEYS >= 2 and #ARGV == 1, 'delete_user takes at least 2 keys and 1 argument')

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('SREM', KEYS[2], ARGV[1])
table.remove(KEYS, 2)
redis.call('UNLINK', unpack(KEYS))
return 1
