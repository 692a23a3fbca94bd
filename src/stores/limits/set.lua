-- Makes a bucket hold so many micro-tokens, from now on. What is leased of it stays leased.
--
-- KEYS[1]  the bucket
-- ARGV     micro-tokens, the length of a lease epoch (microseconds), and whether to `keep` or to
--          `forgive` the penalty of its subject
-- answers  1, or 0 where there is no bucket: it is full

local raw = redis.call('GET', KEYS[1])
if not raw or #raw < 45 then return 0 end
local kind = raw:byte(1)
local length = (kind == 2 or kind == 6) and 45 or (kind == 3 or kind == 7) and 49 or 0
if #raw ~= length + (kind > 5 and 19 or 0) then return 0 end
local _, _, at, tokens, period, burst, leased, before = struct.unpack('<BddI4I4I4dd', raw)
local time = redis.call('TIME')
local now = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), at)
local epoch = tonumber(ARGV[2])
local passed = math.floor(now / epoch) - math.floor(at / epoch)
if passed == 1 then
  leased, before = 0, leased
elseif passed > 1 then
  leased, before = 0, 0
end
local micros = math.max(math.min(tonumber(ARGV[1]), burst * 1000000 - leased - before), 0)
-- Longer than it takes to fill, as the other script has it.
local missing = burst * 1000000 - micros
local ttl = math.ceil(missing * period / tokens / 1000000 + 2 * epoch / 1000) + 5001
if kind > 5 and ARGV[3] == 'forgive' then
  kind, raw = kind - 4, raw:sub(1, length)
elseif kind > 5 then
  -- How long that is kept was for the other script to say.
  ttl = math.max(ttl, redis.call('PTTL', KEYS[1]))
end
local new = struct.pack('<BddI4I4I4dd', kind, micros, now, tokens, period, burst, leased, before)
  .. raw:sub(46)
redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', math.min(ttl, 9007199254740991)))
return 1
