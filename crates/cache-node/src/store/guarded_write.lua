-- Writes a value only if nothing newer stands in the way, and records the decision. One atomic step: compare, set, move the
-- fence, note.
-- KEYS  1 value   2 fence slot {g = generation, t = highest accepted token, e = its epoch}   3 epoch of this Redis
--       4 record of writes, a stream
-- ARGV  1 guard: 'token' | 'generation' | 'none'
--       2 observed generation, decimal   3 the same, 8 bytes big-endian   4 new generation, decimal
--       5 token   6 epoch   7 header and body   8 milliseconds to keep the value   9 milliseconds to keep the slot
--       10 most records to keep, about   11 milliseconds to keep the record
--       12 row's key   13 row's version   14 rebuild's trace   15 writer   16 kind: 1 value, 2 absence, 3 deletion
-- Returns 0 accepted, 1 epoch missing, 2 epoch old, 3 generation moved or the stored row is newer, 4 token old.

-- Decimal strings without leading zeros: Lua's numbers are doubles and would confuse large tokens.
local function above(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

-- Whether the value that stands is of a newer version of the row than the one to write. Generations say so, too, unless Redis
-- lost some of the newest: then they are handed out again. Bytes 33 to 40 of either header, compared one by one: exact for
-- every u64, and in any locale. Absences and deletions carry 0; bytes of another format say nothing.
local function newer_stands()
  if ARGV[16] ~= '1' then return false end
  local stored, new = redis.call('GETRANGE', KEYS[1], 0, 39), ARGV[7]
  if #stored < 40 or stored:sub(1, 2) ~= new:sub(1, 2) then return false end
  for i = 33, 40 do
    local was, is = stored:byte(i), new:byte(i)
    if was ~= is then return was > is end
  end
  return false
end

local function write()
  local slot = redis.call('HMGET', KEYS[2], 'g', 't')
  local generation, highest = slot[1] or '0', slot[2] or '0'

  if ARGV[1] == 'token' then
    local epoch = redis.call('GET', KEYS[3])
    if not epoch then return 1 end
    if epoch ~= ARGV[6] then return 2 end
  end
  if ARGV[1] ~= 'none' then
    local same = generation == ARGV[2]
    if not slot[1] then
      -- The slot was evicted and the value was not: the value itself says its generation.
      local stored = redis.call('GETRANGE', KEYS[1], 8, 15)
      if #stored == 8 then same = stored == ARGV[3] end
    end
    if not same or newer_stands() then return 3 end
  end
  if ARGV[1] == 'token' then
    if not above(ARGV[5], highest) then return 4 end
    redis.call('HSET', KEYS[2], 't', ARGV[5], 'e', ARGV[6])
  end

  redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[8])
  if above(ARGV[4], generation) then redis.call('HSET', KEYS[2], 'g', ARGV[4]) end
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
  return 0
end

local verdict = write()
local now = redis.call('TIME')
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[10], '*',
  'at', now[1] .. string.format('%06d', now[2]), 'key', ARGV[12], 'g', ARGV[4], 't', ARGV[5], 'e', ARGV[6],
  'v', ARGV[13], 'trace', ARGV[14], 'node', ARGV[15], 'kind', ARGV[16], 'verdict', verdict)
redis.call('PEXPIRE', KEYS[4], ARGV[11])
return verdict
