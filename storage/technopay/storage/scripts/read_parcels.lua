-- read_parcels(keys=[journal], args=[payments...])
--
-- Read what has to be known of payments to tell their users of them.
--
-- Returns {code, now, '', [parcel]}, in the order asked, '' for a payment that does not exist; for `parcel` see
-- shared/message.lua
--@include base
--@include challenge
--@include message

local parcels = {}
for i, id in ipairs(ARGV) do
    parcels[i] = parcel(id)
end
return {'ok', at, '', parcels}
