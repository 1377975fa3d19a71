-- KEYS: epoch, highest token. ARGV: new epoch, the epoch found before ('' for none), floor of tokens.
local epoch = redis.call('GET', KEYS[1])
local highest = redis.call('GET', KEYS[2])
if not highest then
  epoch = false
end
if (epoch or '') ~= ARGV[2] then
  return epoch
end
if not highest or tonumber(highest) < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
