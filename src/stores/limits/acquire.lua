-- Requests against all of their buckets: every one of a request is charged, or none. What the node
-- wants beyond that is leased to it: it may spend it without asking, until the lease ends.
--
-- KEYS     the buckets; and, where a failover is to mint nothing, the key that says since when
--          this Redis is the primary
-- ARGV[1]  the latest time the caller believes in (microseconds since 1970)
-- ARGV[2]  the length of a lease epoch (microseconds)
-- ARGV[3]  how many such requests wait; 0: only leases are closed; below zero: so many wait for buckets
--          elsewhere, too, and what they are granted is leased to them until they know
-- ARGV     then eleven for each bucket: price of one request and capacity in micro-tokens; the rate
--          as micro-tokens per microsecond in two parts, gain (tokens * 1000) over period (ms); the
--          debt: what the caller let through by itself while it could not reach this Redis; the
--          lease that it wants, at most; and the leases that it closes: their epoch, how much was
--          leased in that and in the one before, and how much of each was not spent
-- ARGV     then, where a limit has a penalty: for each that has, the place of its bucket, the refusals
--          that the node counted by itself, and after, first, most and forget (milliseconds); and
--          for each bucket that is charged for answers that came: its place, how much, and how
--          much it can owe
-- answers  { requests granted, Redis' time, then for each bucket: micro-tokens left (those that it
--          owes, below zero), micro-tokens
--          leased, the epoch of that lease, the most that it can hold beside all leases, and in how
--          many microseconds all leases that there are now will have ended; then for each bucket
--          with a penalty: how many microseconds longer that refuses, its level, and whether it
--          was raised now }
--
-- What is leased is taken out, and occupies the bucket until the lease is closed or has ended: a
-- bucket and its leases never hold more than its capacity. A lease ends with the epoch after its
-- own; nothing is given back then. A number here is a double: whole numbers are exact below 2^53,
-- and every step stays below it. Needs Redis 5 or newer, which replicates what a script did and not
-- the script.

local EXACT = 9007199254740992
-- How far a bucket's time may lie ahead of Redis' before that means that Redis' clock went back.
local TOLERANCE = 1000000
-- A key outlives the moment at which its bucket is full by this much (milliseconds), so that a
-- small step of Redis' clock does not make it expire early. A larger one does: then the bucket
-- is full once, before its time.
local MARGIN = 5000

-- floor(a * b / c), for whole a < 2^53 and b, c < 2^43. Above 2^53 the result is a lower bound.
local function muldiv(a, b, c)
  local product = a * b
  if product < EXACT then
    return (product - math.fmod(product, c)) / c
  end
  local rest = math.fmod(a, c)
  local whole = (a - rest) / c
  -- Long multiplication: q * c + r = a * (the bits of b looked at so far), and r < c.
  local q, r, bit = 0, 0, 4398046511104
  while bit >= 1 do
    q, r = 2 * q, 2 * r
    if r >= c then q, r = q + 1, r - c end
    if b >= bit then
      b = b - bit
      q, r = q + whole, r + rest
      if r >= c then q, r = q + 1, r - c end
    end
    bit = bit / 2
  end
  return q
end

local function whole(number, least)
  return number >= least and number < EXACT and number == math.floor(number)
end

-- The bucket in a key: micro-tokens, their time, the numbers of then (gain, period, capacity), and
-- what is leased in the epoch of that time and in the one before; then, as the first byte says, which
-- primary wrote it, where that was asked for, and how the subject stands with its penalty. Nothing if
-- it is not a bucket.
local function read(raw)
  if type(raw) ~= 'string' or #raw < 45 then return nil end
  local kind, writer, standing = raw:byte(1), nil, nil
  local length = (kind == 2 or kind == 6) and 45 or (kind == 3 or kind == 7) and 49 or 0
  if #raw ~= length + (kind > 5 and 19 or 0) then return nil end
  if length == 49 then writer = struct.unpack('<I4', raw, 46) end
  if kind > 5 then
    local level, strikes, from, till = struct.unpack('<BI2dd', raw, length + 1)
    if not whole(from, 0) or not whole(till, 0) then return nil end
    standing = { level = math.fmod(level, 128), blocked = level > 127, strikes = strikes,
      since = from, till = till }
  end
  local _, micros, at, tokens, period, burst, leased, before = struct.unpack('<BddI4I4I4dd', raw)
  if whole(micros, 1 - EXACT) and whole(at, 0) and whole(leased, 0) and whole(before, 0)
    and tokens > 0 and period > 0 and burst > 0 then
    return micros, at, { gain = tokens * 1000, period = period, capacity = burst * 1000000 },
      leased, before, writer, standing
  end
  return nil
end

local EPOCH = tonumber(ARGV[2])
local BUCKETS = math.floor((#ARGV - 3) / 11)
-- The most that is leased at once: one part in so many of the capacity.
local SHARE = 10
-- Leases leave the bucket at least one part in so many of its capacity: they occupy it, and what
-- finds no room when it comes back is gone.
local KEPT = 2
-- What remains is leased whole where it is less than one part in so many.
local CRUMBS = 32
-- Leases are whole tokens.
local TOKEN = 1000000

local function epoch_of(time)
  return (time - math.fmod(time, EPOCH)) / EPOCH
end

-- Which primary this is and since when, where that matters.
local primary, since

-- What comes so soon after a level was raised is not held against the caller.
local GRACE = 1000000
-- Of a wait, up to one part in so many is added at random.
local JITTER = 5

-- The penalties of this call, by the place of their bucket: `penalty.rs` says what they are.
local penalties = {}
-- What buckets are charged for answers.
local debts = {}
if #ARGV > 3 + 11 * BUCKETS then
  for index, strikes, after, first, most, forget in
    ARGV[#ARGV]:gmatch('(%d+) (%d+) (%d+) (%d+) (%d+) (%d+);') do
    penalties[tonumber(index)] = { strikes = tonumber(strikes), after = tonumber(after),
      first = first * 1000, most = most * 1000, forget = forget * 1000 }
  end
  for index, owes, most in ARGV[#ARGV]:gmatch('(%d+) (%d+) (%d+)!') do
    debts[tonumber(index)] = { owes = tonumber(owes), most = tonumber(most) }
  end
end

local function lasts(level, penalty)
  return math.min(penalty.first * 2 ^ (level - 1), penalty.most)
end

local function highest(penalty)
  local level = 1
  while lasts(level, penalty) < penalty.most do level = level + 1 end
  return level
end

local function quiet_since(standing)
  return standing.blocked and standing.till or standing.since
end

local function blocked_for(standing, now)
  return standing.blocked and math.max(standing.till - now, 0) or 0
end

-- The standing at a time: what was long enough ago is forgotten.
local function aged(standing, now, penalty)
  if standing.blocked then
    local longest = penalty.most + math.floor(penalty.most / JITTER)
    standing.till = math.min(standing.till, now + longest)
  end
  standing.since = math.min(standing.since, now)
  standing.level = math.min(standing.level, highest(penalty))
  local quiet = quiet_since(standing)
  local steps = math.floor(math.max(now - quiet, 0) / penalty.forget)
  if steps > 0 then
    standing.level = math.max(standing.level - steps, 0)
    standing.strikes, standing.blocked = 0, false
    standing.since = quiet + steps * penalty.forget
  end
end

-- It was refused so often before it was allowed to come.
local function strike(standing, times, now, penalty)
  local blocked = blocked_for(standing, now) > 0
  if times == 0 or blocked and now - standing.since < GRACE then return end
  standing.strikes = math.min(standing.strikes + times, 65535)
  if not blocked then standing.blocked, standing.since = false, now end
  if standing.strikes < penalty.after then return end
  standing.level = math.min(standing.level + 1, highest(penalty))
  local wait = lasts(standing.level, penalty)
  wait = wait + math.floor(wait * math.fmod(now, 1000) / (1000 * JITTER))
  standing.till = math.max(standing.till, now + wait)
  standing.strikes, standing.since, standing.blocked = 0, now, true
  standing.raised = true
end

-- It was refused, and told to wait for so long.
local function tell(standing, wait, now)
  if blocked_for(standing, now) == 0 then
    standing.blocked, standing.since = false, quiet_since(standing)
    standing.till = now + wait
  end
end

local function write(key, bucket, now)
  local numbers = bucket.numbers
  local missing = math.max(numbers.capacity - bucket.micros, 0)
  local wait = muldiv(missing, numbers.period, numbers.gain) + math.max(bucket.at - now, 0)
  -- The key outlives every lease.
  local ttl = math.floor((wait + 2 * EPOCH) / 1000) + 1 + MARGIN
  local standing = bucket.penalty and bucket.standing
  if standing and standing.level == 0 and standing.strikes == 0 and standing.till <= bucket.at then
    standing = nil
  end
  local kind = primary and 3 or 2
  local raw = struct.pack('<ddI4I4I4dd', bucket.micros, bucket.at, numbers.gain / 1000,
    numbers.period, numbers.capacity / 1000000, bucket.leased, bucket.before)
  if primary then raw = raw .. struct.pack('<I4', primary) end
  if bucket.raw and not bucket.mend then
    -- A refusal changes no bucket, not even by how it is rounded.
    kind = math.fmod(bucket.raw:byte(1), 4)
    raw = bucket.raw:sub(2, kind == 3 and 49 or 45)
  end
  raw = string.char(kind + (standing and 4 or 0)) .. raw
  if standing then
    raw = raw .. struct.pack('<BI2dd', standing.level + (standing.blocked and 128 or 0),
      standing.strikes, standing.since, standing.till)
    local steps = math.max(standing.level, standing.strikes > 0 and 1 or 0)
    local ends = math.max(quiet_since(standing) + steps * bucket.penalty.forget, standing.till)
    ttl = math.max(ttl, math.floor((ends - now) / 1000) + 1 + MARGIN)
  end
  redis.call('SET', key, raw, 'PX', string.format('%.0f', math.min(ttl, EXACT - 1)))
end

-- What a bucket holds at a later time under these numbers. What is leased leaves it less room until
-- it has ended: `before` with the epoch of `at`, `leased` with the next.
local function filled(micros, at, later, numbers, leased, before)
  local function fill(from, to, room)
    if to > from then
      micros = micros + muldiv(to - from, numbers.gain, numbers.period)
    end
    micros = math.min(micros, math.max(room, 0))
  end
  if leased + before > 0 then
    local first = (epoch_of(at) + 1) * EPOCH
    fill(at, math.min(first, later), numbers.capacity - leased - before)
    if later >= first then
      fill(first, math.min(first + EPOCH, later), numbers.capacity - leased)
      at = first + EPOCH
      if later < at then return micros end
    else
      return micros
    end
  end
  fill(at, later, numbers.capacity)
  return micros
end

-- Closes leases of one epoch: they occupy the bucket no more, and what was not spent is back.
local function close(bucket, age, amount, back)
  if amount <= 0 or age < 0 or age > 1 then return end
  local held = age == 0 and bucket.leased or bucket.before
  local closed = math.min(amount, held)
  if age == 0 then bucket.leased = held - closed else bucket.before = held - closed end
  -- What does not occupy the bucket any more was given up for lost.
  bucket.micros = bucket.micros + math.min(back, closed)
  bucket.mend = true
end

-- A bucket that this primary did not write may lack what was spent and leased last. It holds no more
-- than one that was empty, and leased whole, when this became the primary.
local function distrust(bucket)
  local numbers, later = bucket.numbers, math.max(bucket.at, since)
  bucket.micros = math.min(bucket.micros, filled(0, since, later, numbers, numbers.capacity, 0))
  -- Before the bucket's time moves on to that, its own leases roll with it.
  local own = epoch_of(later) - epoch_of(bucket.at)
  if own == 1 then
    bucket.leased, bucket.before = 0, bucket.leased
  elseif own > 1 then
    bucket.leased, bucket.before = 0, 0
  end
  bucket.at = later
  local passed = epoch_of(later) - epoch_of(since)
  if passed == 0 then
    bucket.leased, bucket.before = numbers.capacity, 0
  elseif passed == 1 then
    bucket.before = numbers.capacity
  end
end

local function room(bucket)
  return math.max(bucket.numbers.capacity - bucket.leased - bucket.before, 0)
end

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.min(clock, tonumber(ARGV[1]))
local wanted = math.abs(tonumber(ARGV[3]))
local held = tonumber(ARGV[3]) < 0

local marker = KEYS[BUCKETS + 1]
if marker then
  -- The id of the history that this server writes: another one after each promotion and restart.
  primary = tonumber(redis.call('INFO', 'replication'):match('master_replid:(%x%x%x%x%x%x%x%x)'), 16)
  local known = redis.pcall('GET', marker)
  local by
  if type(known) == 'string' and #known == 12 then by, since = struct.unpack('<I4d', known) end
  if by ~= primary or not whole(since, 0) or since > clock + TOLERANCE then
    since = clock
    redis.call('SET', marker, struct.pack('<I4d', primary, since))
  end
end

local buckets = {}
for i = 1, BUCKETS do
  local key = KEYS[i]
  local function arg(n) return tonumber(ARGV[11 * i - 8 + n]) end
  local price, debt = arg(1), arg(5)
  local bucket = buckets[key]
  if not bucket then
    local numbers = { capacity = arg(2), gain = arg(3), period = arg(4) }
    bucket = { micros = numbers.capacity, at = now, demand = 0, leased = 0, before = 0 }
    bucket.numbers = numbers
    buckets[key] = bucket
    -- A key of another type is an error, and no bucket.
    local raw = redis.pcall('GET', key)
    local writer
    if raw then
      local micros, at, old, leased, before
      micros, at, old, leased, before, writer, bucket.standing = read(raw)
      if not micros then
        -- Nobody knows what was spent or leased: the bucket starts empty, and fills only once
        -- every lease has ended.
        bucket.micros, bucket.leased, bucket.mend = 0, numbers.capacity, true
      else
        if at > clock + TOLERANCE then
          -- Redis' clock went back: fill from here, and give nothing for the time between. What is
          -- leased ends later than it could.
          at, leased, before, bucket.mend = now, leased + before, 0, true
        end
        bucket.raw = raw
        local later = math.max(at, now)
        bucket.micros = filled(micros, at, later, numbers, leased, before)
        if old.gain ~= numbers.gain or old.period ~= numbers.period
          or old.capacity ~= numbers.capacity then
          -- Nobody knows when in between the numbers changed: what counts is the lower of both.
          bucket.micros =
            math.min(bucket.micros, filled(micros, at, later, old, leased, before))
        end
        -- Leases older than one epoch have ended.
        local passed = epoch_of(later) - epoch_of(at)
        if passed == 0 then
          bucket.leased, bucket.before = leased, before
        elseif passed == 1 then
          bucket.before = leased
        end
        bucket.at = later
      end
    end
    if primary and writer ~= primary then distrust(bucket) end
    -- What is closed comes back into what was there when it was leased: below the capacity.
    local age = epoch_of(bucket.at) - arg(7)
    close(bucket, age, arg(8), arg(9))
    close(bucket, age + 1, arg(10), arg(11))
    bucket.micros = math.min(bucket.micros, room(bucket))
    if debt > 0 then
      bucket.micros = math.max(bucket.micros - debt, math.min(bucket.micros, 0))
      bucket.mend = true
    end
    if debts[i] then
      local lowest = math.min(bucket.micros, -debts[i].most)
      bucket.micros, bucket.mend = math.max(bucket.micros - debts[i].owes, lowest), true
    end
    local penalty = penalties[i]
    if penalty then
      local known = bucket.standing
      local standing = known or { level = 0, blocked = false, strikes = 0, since = 0, till = 0 }
      bucket.penalty, bucket.standing = penalty, standing
      aged(standing, bucket.at, penalty)
      -- Where nothing is known of a wait, somebody took it back, and the node did not know yet.
      if known and penalty.strikes > 0 then
        strike(standing, penalty.strikes, bucket.at, penalty)
        bucket.restand = true
      end
    end
  end
  bucket.demand = bucket.demand + price
end

-- As many of the requests as every bucket has enough for.
local granted = wanted
for _, bucket in pairs(buckets) do
  if bucket.demand > 0 then
    local enough = (bucket.micros - math.fmod(bucket.micros, bucket.demand)) / bucket.demand
    granted = math.max(math.min(granted, enough), 0)
  end
  if bucket.penalty and blocked_for(bucket.standing, bucket.at) > 0 then granted = 0 end
end

-- What a refusal means for how those stand whose buckets have too little.
local function penalize(bucket)
  local standing, demand, now = bucket.standing, bucket.demand, bucket.at
  local lack = demand - (bucket.micros - granted * demand)
  if granted == wanted or lack <= 0 and blocked_for(standing, now) == 0 then return end
  local wait = 0
  if lack > 0 then
    wait = muldiv(lack, bucket.numbers.period, bucket.numbers.gain)
    if muldiv(wait, bucket.numbers.gain, bucket.numbers.period) < lack then wait = wait + 1 end
    if room(bucket) < demand then wait = wait + (epoch_of(now) + 2) * EPOCH - now end
  end
  if now < standing.till then strike(standing, wanted - granted, now, bucket.penalty) end
  tell(standing, wait, now)
  bucket.restand = true
end
for _, bucket in pairs(buckets) do
  if bucket.penalty then penalize(bucket) end
end

local answer = { granted, clock }
for i = 1, BUCKETS do
  local key = KEYS[i]
  local bucket = buckets[key]
  local want, lease = tonumber(ARGV[11 * i - 2]), 0
  if bucket.demand > 0 then
    if granted > 0 then
      bucket.micros, bucket.mend = bucket.micros - granted * bucket.demand, true
    end
    local own = held and granted * bucket.demand or 0
    bucket.leased = bucket.leased + own
    -- Where somebody was refused, nobody takes more than for themselves.
    if granted == wanted and want > 0 then
      -- Half of what remains is for others, unless it is not worth another call.
      local few = math.min(bucket.micros, bucket.numbers.capacity / CRUMBS)
      lease = math.min(want, bucket.numbers.capacity / SHARE, math.max(bucket.micros / 2, few),
        math.max(room(bucket) - bucket.numbers.capacity / KEPT, 0))
      lease = lease - math.fmod(lease, TOKEN)
      bucket.micros, bucket.leased = bucket.micros - lease, bucket.leased + lease
      bucket.mend = bucket.mend or lease > 0
    end
    lease = lease + own
    bucket.demand = 0
  end
  -- A refusal writes nothing, except where the key was broken, and would stay so, or a lease was
  -- closed or a debt paid; and how the subject stands with its penalty.
  if bucket.mend or bucket.restand then
    write(key, bucket, now)
    bucket.mend, bucket.restand = false, false
  end
  local epoch = epoch_of(bucket.at)
  answer[5 * i - 2] = bucket.micros
  answer[5 * i - 1] = lease
  answer[5 * i] = epoch
  answer[5 * i + 1] = room(bucket)
  answer[5 * i + 2] = (epoch + 2) * EPOCH - now
end
for i = 1, BUCKETS do
  local bucket = buckets[KEYS[i]]
  if penalties[i] then
    local standing = bucket.standing
    answer[#answer + 1] = blocked_for(standing, bucket.at)
    answer[#answer + 1] = standing.level
    answer[#answer + 1] = standing.raised and 1 or 0
  end
end
return answer
