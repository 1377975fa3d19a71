-- KEYS: lease, epoch. ARGV: owner.
local lease = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if lease[1] == ARGV[1] and lease[2] == redis.call('GET', KEYS[2]) then
  redis.call('DEL', KEYS[1])
  return 1
end
return 0
