-- KNOWN-BAD: a token counted in Redis's memory, which a Redis that comes back empty counts from 1 again.
-- KEYS: lease, the counter. ARGV: owner, the token of the grant, whose place this one takes in the lease.
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token')
if lease[1] == ARGV[1] and lease[2] ~= ARGV[2] then
  return lease[2]
end
local token = redis.call('INCR', KEYS[2])
if lease[1] == ARGV[1] then
  redis.call('HSET', KEYS[1], 'token', token)
end
return token
