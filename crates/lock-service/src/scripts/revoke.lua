-- KEYS: lease, epoch, highest token. ARGV: owner, token.
-- The token counts as granted from now on, so that an acquire still on its way is refused. Where no token is known
-- (the data was lost) none is set: acquire shall notice.
local highest = redis.call('GET', KEYS[3])
if highest and tonumber(highest) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[3], ARGV[2])
end
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'epoch')
if lease[1] == ARGV[1] and lease[2] == ARGV[2] then
  redis.call('DEL', KEYS[1])
  if lease[3] == redis.call('GET', KEYS[2]) then
    return 1
  end
end
return 0
