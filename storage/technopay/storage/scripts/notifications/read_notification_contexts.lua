-- read_notification_contexts(payment_ids...) no-writes
--
-- Read what has to be known of payments to tell their users of them.
--
-- Returns {code, now, '', [parcel]}, in the order asked, '' for a payment that does not exist, {payment} for what cannot
-- be read; for `parcel` see shared/message.lua

return {'ok', at, '', read_each(payment_ids, message_context)}
