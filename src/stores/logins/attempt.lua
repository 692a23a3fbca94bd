-- Failed logins: an attempt that begins, or one that has ended. The sums are those of `Ladder` in
-- src/policy/logins.rs; times are milliseconds of Redis' clock. Needs Redis 5 or newer.
--
-- KEYS     known, sprayed (address), sprayed (network), overall, then a tally for each subject
-- ARGV[1]  'begin', 'success', 'failure' or 'neutral'
-- ARGV[2]  the address; ARGV[3] the account, or ''; ARGV[4] how long an address is known
-- ARGV[5]  spraying: accounts of an address (0: off); [6] of a network; [7] window; [8] 1: it locks
-- ARGV[9]  stuffing: failures (0: off); [10] percent; [11] window; [12] failures that lock an
--          address while it lasts (0: as ever)
-- ARGV     then nine for each tally: subject (p, a, n, u), failures, again, within, first, factor,
--          most, forget, and for an attempt that has ended the level that it locked at (0: none)
-- answers  begin: { 0, index of the tally, milliseconds } where it is locked;
--          { 1, 1 if the account knows the address, 1 sprayed from the address, 1 from the network,
--            1 if stuffing is news, the level that each tally is locked at by this attempt, or 0 }

local KNOWN = 8
local act, address, account = ARGV[1], ARGV[2], ARGV[3]
local known_for = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function read(key, ladder)
  local tally = { count = 0, since = 0, level = 0, till = 0 }
  local raw = redis.pcall('GET', key)
  if type(raw) == 'string' then
    local count, since, level, till = raw:match('^(%d+):(%d+):(%d+):(%d+)$')
    if count then
      tally.count, tally.since = tonumber(count), tonumber(since)
      tally.level, tally.till = tonumber(level), tonumber(till)
    end
  end
  if now - tally.since >= ladder.within then tally.count = 0 end
  if now >= tally.till + ladder.forget then tally.level = 0 end
  return tally
end

local function write(key, tally, ladder)
  local counted = tally.count > 0 and tally.since + ladder.within or 0
  local locked = tally.level > 0 and tally.till + ladder.forget or 0
  local left = math.max(counted, locked) - now
  if left <= 0 then
    redis.call('DEL', key)
  else
    local raw = string.format('%d:%.0f:%d:%.0f', tally.count, tally.since, tally.level, tally.till)
    redis.call('SET', key, raw, 'PX', string.format('%.0f', left + 1000))
  end
end

local function needed(tally, ladder)
  return tally.level == 0 and ladder.failures or ladder.again
end

local function lock(tally, ladder)
  tally.level = tally.level + 1
  local lasts = math.min(ladder.first * ladder.factor ^ (tally.level - 1), ladder.most)
  tally.till, tally.count = now + lasts, 0
  return tally.level
end

local ladders = {}
for i = 5, #KEYS do
  local at = 13 + 9 * (i - 5)
  ladders[i] = {
    subject = ARGV[at], failures = tonumber(ARGV[at + 1]), again = tonumber(ARGV[at + 2]),
    within = tonumber(ARGV[at + 3]), first = tonumber(ARGV[at + 4]), factor = tonumber(ARGV[at + 5]),
    most = tonumber(ARGV[at + 6]), forget = tonumber(ARGV[at + 7]), locked = tonumber(ARGV[at + 8]),
  }
end

local stuffing, percent, window = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local function overall(attempts, failures)
  if stuffing == 0 then return 0, 0, false end
  if attempts > 0 then
    redis.call('HINCRBY', KEYS[4], 'attempts', attempts)
    redis.call('HINCRBY', KEYS[4], 'failures', failures)
    if redis.call('PTTL', KEYS[4]) < 0 then redis.call('PEXPIRE', KEYS[4], window) end
  end
  local seen = redis.call('HMGET', KEYS[4], 'attempts', 'failures', 'told')
  return tonumber(seen[1]) or 0, tonumber(seen[2]) or 0, seen[3]
end

if act == 'begin' then
  local knows = 0
  if account ~= '' then
    local till = redis.call('ZSCORE', KEYS[1], address)
    if till and tonumber(till) > now then knows = 1 end
  end
  local tallies = {}
  for i = 5, #KEYS do
    if not (ladders[i].subject == 'u' and knows == 1) then
      tallies[i] = read(KEYS[i], ladders[i])
      if tallies[i].till > now then return { 0, i - 5, tallies[i].till - now } end
    end
  end
  local attempts, failures, told = overall(0, 0)
  local news = 0
  if stuffing > 0 and not told and failures >= stuffing and failures * 100 >= attempts * percent then
    redis.call('HSET', KEYS[4], 'told', 1)
    news, told = 1, true
  end
  local sprayed = { a = 0, n = 0 }
  if account ~= '' and tonumber(ARGV[5]) > 0 then
    for i, subject in ipairs({ 'a', 'n' }) do
      local key, most = KEYS[1 + i], tonumber(ARGV[4 + i])
      local told_here = redis.call('HEXISTS', key, '!')
      local accounts = redis.call('HLEN', key) - told_here
      if accounts < most or redis.call('HEXISTS', key, account) == 1 then
        if redis.call('HINCRBY', key, account, 1) == 1 then accounts = accounts + 1 end
      end
      if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[7]) end
      if accounts >= most and told_here == 0 then
        redis.call('HSET', key, '!', 1)
        sprayed[subject] = 1
      end
    end
  end
  local answer = { 1, knows, sprayed.a, sprayed.n, news }
  for i = 5, #KEYS do
    local tally, ladder, level = tallies[i], ladders[i], 0
    if tally then
      local strict = tonumber(ARGV[12])
      if told and strict > 0 and ladder.subject == 'a' then
        ladder.failures = math.min(ladder.failures, strict)
      end
      if tally.count == 0 then tally.since = now end
      tally.count = tally.count + 1
      if tally.count >= needed(tally, ladder) then
        level = lock(tally, ladder)
      elseif ARGV[8] == '1' and sprayed[ladder.subject] == 1 then
        level = lock(tally, ladder)
      end
      write(KEYS[i], tally, ladder)
    end
    answer[i + 1] = level
  end
  return answer
end

if act ~= 'neutral' then overall(1, act == 'failure' and 1 or 0) end
if act == 'failure' then return { 1 } end
for i = 5, #KEYS do
  local ladder = ladders[i]
  local tally = read(KEYS[i], ladder)
  if act == 'success' and ladder.subject == 'p' then
    tally = { count = 0, since = 0, level = 0, till = 0 }
  elseif ladder.locked > 0 then
    if ladder.locked == tally.level then
      tally.level, tally.till = tally.level - 1, 0
      tally.count = math.max(needed(tally, ladder) - 1, 0)
    end
  else
    tally.count = math.max(tally.count - 1, 0)
  end
  write(KEYS[i], tally, ladder)
end
if account ~= '' then
  for i = 2, 3 do
    -- What proved nothing takes back itself, and no failure for the same account.
    local attempts = tonumber(redis.call('HGET', KEYS[i], account)) or 0
    if act == 'success' or attempts <= 1 then
      redis.call('HDEL', KEYS[i], account)
    else
      redis.call('HINCRBY', KEYS[i], account, -1)
    end
  end
  if ARGV[5] == '1' then redis.call('HDEL', KEYS[2], '!') end
  if ARGV[6] == '1' then redis.call('HDEL', KEYS[3], '!') end
  if act == 'success' then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + known_for), address)
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - KNOWN)
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', known_for))
  end
end
return { 1 }
