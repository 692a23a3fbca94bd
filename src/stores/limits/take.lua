-- One request against all of its buckets: every one is charged, or none.
--
-- KEYS     the buckets
-- ARGV[1]  the latest time the caller believes in (microseconds since 1970)
-- ARGV     then five for each bucket: price and capacity in micro-tokens; the rate as micro-tokens
--          per microsecond in two parts, gain (tokens * 1000) over period (ms); and the debt: what
--          the caller let through by itself while it could not reach this Redis
-- answers  { 1 granted or 0 refused, Redis' time, micro-tokens left in each bucket }
--
-- A number here is a double: whole numbers are exact below 2^53, and every step stays below it.
-- Needs Redis 5 or newer, which replicates what a script did and not the script.

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

-- The bucket in a key: micro-tokens, time, gain, period. Nothing if it is not a bucket.
local function read(raw)
  if type(raw) ~= 'string' or #raw ~= 33 or raw:byte(1) ~= 1 then return nil end
  local _, micros, at, gain, period = struct.unpack('<Bdddd', raw)
  if whole(micros, 0) and whole(at, 0) and whole(gain, 1) and whole(period, 1) then
    return micros, at, gain, period
  end
  return nil
end

local function write(key, bucket, now)
  local missing = math.max(bucket.capacity - bucket.micros, 0)
  local wait = muldiv(missing, bucket.period, bucket.gain) + math.max(bucket.at - now, 0)
  local ttl = math.min(math.floor(wait / 1000) + 1 + MARGIN, EXACT - 1)
  local raw = struct.pack('<Bdddd', 1, bucket.micros, bucket.at, bucket.gain, bucket.period)
  redis.call('SET', key, raw, 'PX', string.format('%.0f', ttl))
end

local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.min(clock, tonumber(ARGV[1]))

local buckets, short = {}, false
for i, key in ipairs(KEYS) do
  local price, capacity = tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i - 2])
  local gain, period = tonumber(ARGV[5 * i - 1]), tonumber(ARGV[5 * i])
  local debt = tonumber(ARGV[5 * i + 1])
  local bucket = buckets[key]
  if not bucket then
    bucket = { micros = capacity, at = now, demand = 0 }
    buckets[key] = bucket
    -- A key of another type is an error, and no bucket.
    local raw = redis.pcall('GET', key)
    if raw then
      local micros, at, old_gain, old_period = read(raw)
      if not micros then
        -- Nobody knows what was spent: the bucket starts empty, and fills from now on.
        bucket.micros, bucket.mend = 0, true
      else
        if at > clock + TOLERANCE then
          -- Redis' clock went back: fill from here, and give nothing for the time between.
          at, bucket.mend = now, true
        end
        local elapsed = math.max(now - at, 0)
        local refill = muldiv(elapsed, gain, period)
        if old_gain ~= gain or old_period ~= period then
          -- Nobody knows when in between the numbers changed: count the lower rate.
          refill = math.min(refill, muldiv(elapsed, old_gain, old_period))
        end
        bucket.micros, bucket.at = math.min(micros + refill, capacity), math.max(at, now)
      end
    end
    if debt > 0 then
      bucket.micros, bucket.mend = math.max(bucket.micros - debt, 0), true
    end
  end
  bucket.capacity, bucket.gain, bucket.period = capacity, gain, period
  bucket.demand = bucket.demand + price
  if bucket.demand > bucket.micros then short = true end
end

local answer = { short and 0 or 1, clock }
for i, key in ipairs(KEYS) do
  local bucket = buckets[key]
  if bucket.demand > 0 and not short then
    bucket.micros, bucket.demand, bucket.mend = bucket.micros - bucket.demand, 0, true
  end
  -- A refusal writes nothing, except where the key was broken, and would stay so, or a debt
  -- was paid.
  if bucket.mend then
    write(key, bucket, now)
    bucket.mend = false
  end
  answer[i + 2] = bucket.micros
end
return answer
