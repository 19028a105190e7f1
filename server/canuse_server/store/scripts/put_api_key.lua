-- Keeps or forgets one API key, if none has changed since the caller read them all, and tells every server.
--
-- KEYS  1 the hash of keys by id   2 their stamp   3 when each was used last
-- ARGV  1 the stamp that the caller read, '' for none   2 the key's id   3 the key, or '' to forget it
--       4 the channel to tell   5 the random part of the new stamp
-- Returns 1, or 0 if the keys have changed since; then nothing was written.
assert(#KEYS == 3 and #ARGV == 5, 'put_api_key takes 3 keys and 5 arguments')

local before = redis.call('GET', KEYS[2]) or ''
if before ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
else
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
end
redis.call('SET', KEYS[2], string.format('%d-%s', tonumber(string.match(before, '^%d+') or '0') + 1, ARGV[5]))
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
