-- Notes uses of sessions: for all nodes, when each was last used and how long it rested at most;
-- and for whoever asks, the list of a user's sessions.
--
-- KEYS[1]  sessions by their last use; the score is that second, and behind the point the longest
--          rest in minutes over 2^21: both are exact in a double
-- KEYS[2]  what is known of the whole: since (when this began to be noted)
-- KEYS     then the list of the session's user, for each use
-- ARGV[1]  how many sessions are kept
-- ARGV[2]  how many sessions of one user are kept
-- ARGV[3]  how long a list is kept after the last use (seconds)
-- ARGV     then five for each use: the session's mark, when it was used, when the session began
--          (0 if that is not known), its id (empty if it is too long for the list), what is to be
--          listed (JSON)

local MINUTES = 2097152
redis.call('HSETNX', KEYS[2], 'since', redis.call('TIME')[1])
local since = tonumber(redis.call('HGET', KEYS[2], 'since'))
for i = 0, #KEYS - 3 do
  local mark, id, shown = ARGV[4 + i * 5], ARGV[7 + i * 5], ARGV[8 + i * 5]
  local at, began = tonumber(ARGV[5 + i * 5]), tonumber(ARGV[6 + i * 5])
  local score = tonumber(redis.call('ZSCORE', KEYS[1], mark) or 0)
  local before, rested = math.floor(score), 0
  if before > 0 then
    rested = math.floor((score - before) * MINUTES + 0.5)
  else
    before = began
  end
  local rest = math.floor((at - math.max(before, since)) / 60)
  rested = math.min(math.max(rested, rest, 0), MINUTES / 2)
  redis.call('ZADD', KEYS[1], string.format('%.17g', math.max(at, before) + rested / MINUTES), mark)
  if id ~= '' then
    local list = KEYS[3 + i]
    local entry, old = cjson.decode(shown), redis.call('HGET', list, id)
    entry.first = old and cjson.decode(old).first or at
    redis.call('HSET', list, id, cjson.encode(entry))
    redis.call('EXPIRE', list, ARGV[3])
    if redis.call('HLEN', list) > tonumber(ARGV[2]) then
      local all, oldest, last = redis.call('HGETALL', list), nil, nil
      for n = 1, #all, 2 do
        local used = cjson.decode(all[n + 1]).last
        if not last or used < last then oldest, last = all[n], used end
      end
      redis.call('HDEL', list, oldest)
    end
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[1]))
return since
