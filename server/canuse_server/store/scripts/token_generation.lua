-- Begins a generation of a user's tokens if there is none, or ends the present one and with it all tokens of the user.
--
-- KEYS  1 the user's hash
-- ARGV  1 the random generation to begin, or '' to end the present one
-- Returns the generation, '' if it was to be ended, or nil if there is no such user.
assert(#KEYS == 1 and #ARGV == 1, 'token_generation takes 1 key and 1 argument')

if not redis.call('HGET', KEYS[1], 'm') then return false end
if ARGV[1] == '' then
  redis.call('HDEL', KEYS[1], 'k')
  return ''
end
redis.call('HSETNX', KEYS[1], 'k', ARGV[1])
return redis.call('HGET', KEYS[1], 'k')
