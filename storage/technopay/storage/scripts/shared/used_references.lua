-- used_references: the references of invoices that left the store. Each was used once and for all.
--
-- The string `used:<bucket>` has the digests of such references, 16 bytes each, in the home of a reference. The caller
-- computes a digest, in hexadecimal digits; the first three are the bucket.

local DIGEST_BYTES = 16

local function bucket_of(digest)
    return key('used', string.sub(digest, 1, 3))
end

local function packed(digest)
    return (string.gsub(digest, '%x%x', function(pair) return string.char(tonumber(pair, 16)) end))
end

local function is_used(digest)
    local digests, wanted, from = redis.call('GET', bucket_of(digest)) or '', packed(digest), 1
    while true do
        local place = string.find(digests, wanted, from, true)
        if not place or (place - 1) % DIGEST_BYTES == 0 then
            return place ~= nil
        end
        from = place + 1
    end
end

-- The whole string is written, because APPEND would reserve as much again.
local function add_used(digest)
    if not is_used(digest) then
        redis.call('SET', bucket_of(digest), (redis.call('GET', bucket_of(digest)) or '') .. packed(digest))
    end
end
