-- KEYS: lease, epoch. ARGV: owner, token, expiry in ms.
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'epoch')
if lease[1] == ARGV[1] and lease[2] == ARGV[2] and lease[3] == redis.call('GET', KEYS[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
return 0
