-- KEYS: lease, epoch, highest token. ARGV: owner, token, known epoch, expiry in ms.
-- Numbers are compared as doubles: exact up to 2^53 - 1, which the service keeps to.
local epoch = redis.call('GET', KEYS[2])
local highest = redis.call('GET', KEYS[3])
if not epoch or not highest then
  return {'epoch_missing'}
end
if tonumber(epoch) < tonumber(ARGV[3]) then
  return {'epoch_older', epoch}
end
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'epoch')
if lease[1] and lease[3] == epoch then
  local left = redis.call('PTTL', KEYS[1])
  if lease[1] == ARGV[1] then
    return {'repeated', lease[2], epoch, left}
  end
  return {'held', lease[2], epoch, left, lease[1]}
end
if tonumber(ARGV[2]) <= tonumber(highest) then
  return {'token_old', highest}
end
redis.call('SET', KEYS[3], ARGV[2])
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', ARGV[2], 'epoch', epoch)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'granted', ARGV[2], epoch, tonumber(ARGV[4])}
