-- Writes revocations into the shared log. Writing one twice changes nothing.
--
-- KEYS     the log (by number), the ends (by time), what is known of the log: epoch, seq, floor
-- ARGV[1]  the channel on which nodes listen
-- ARGV[2]  an epoch for a log that has none: it is empty, and maybe was not before
-- ARGV[3]  how many revocations are kept
-- ARGV     then two for each revocation: its text, and until when it has to be known (seconds)
-- answers  the number of the last
--
-- Beyond the cap the oldest go, and `floor` tells that everything issued until then is refused.

local log, ends, known = KEYS[1], KEYS[2], KEYS[3]
redis.call('HSETNX', known, 'epoch', ARGV[2])
local added = false
for i = 4, #ARGV, 2 do
  if not redis.call('ZSCORE', log, ARGV[i]) then
    redis.call('ZADD', log, redis.call('HINCRBY', known, 'seq', 1), ARGV[i])
    redis.call('ZADD', ends, ARGV[i + 1], ARGV[i])
    added = true
  end
end
local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', '(' .. redis.call('TIME')[1], 'LIMIT', 0, 1000)
if #ended > 0 then
  redis.call('ZREM', log, unpack(ended))
  redis.call('ZREM', ends, unpack(ended))
end
local over = redis.call('ZCARD', log) - tonumber(ARGV[3])
if over > 0 then
  local oldest = redis.call('ZRANGE', log, 0, math.min(over, 1000) - 1)
  redis.call('ZREM', log, unpack(oldest))
  redis.call('ZREM', ends, unpack(oldest))
  local floor = tonumber(redis.call('HGET', known, 'floor') or 0)
  for _, text in ipairs(oldest) do
    floor = math.max(floor, tonumber(string.match(text, ':(%d+)$') or 0))
  end
  redis.call('HSET', known, 'floor', string.format('%.0f', floor))
end
if added then
  redis.call('PUBLISH', ARGV[1], 'revoked')
end
return tonumber(redis.call('HGET', known, 'seq') or 0)
