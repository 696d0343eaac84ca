-- read_notification_contexts(payment_ids...) no-writes
--
-- Read the contexts of messages about payments, see shared/message.lua.
--
-- Returns {code, now, '', [context]}, in the order of the ids, '' for a payment that does not exist, {payment} for an
-- unreadable one

return {'ok', at, '', read_each(payment_ids, message_context)}
