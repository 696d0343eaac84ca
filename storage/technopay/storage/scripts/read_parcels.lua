-- read_parcels(keys=[journal], args=[payments...])
--
-- Read what has to be known of payments to tell their users of them.
--
-- Returns {code, now, '', [parcel]}, in the order asked, '' for a payment that does not exist, {payment} for what cannot
-- be read; for `parcel` see shared/message.lua
--@include base
--@include challenge
--@include each
--@include pack
--@include message

return {'ok', at, '', read_each(ARGV, parcel)}
