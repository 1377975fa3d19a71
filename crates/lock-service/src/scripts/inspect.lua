-- KEYS: lease, epoch.
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'epoch')
if lease[1] and lease[3] == redis.call('GET', KEYS[2]) then
  return {lease[1], lease[2], lease[3], redis.call('PTTL', KEYS[1])}
end
return {}
