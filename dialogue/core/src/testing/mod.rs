//! Test suites for parts that an application implements itself (feature `testing`).
//!
//! [`store_suite!`](crate::testing::store_suite) tests a [`Store`](crate::store::Store) by every clause of its
//! contract.

#[doc(hidden)]
pub mod store;

#[doc(inline)]
pub use crate::store_suite;

/// Makes a module of tests that try a [`Store`](crate::store::Store) by every sentence of its contract.
///
/// The tests are plain `#[test]`s and bring their runtime with them: tokio's, multi-threaded, with time and I/O. Each
/// has a store of its own. A failure says in a sentence what the store did wrong.
///
/// `open` is an async closure that makes a store; when no `place` is given, a fresh and empty one:
///
/// ```
/// use dialogue::store::Memory;
///
/// dialogue::testing::store_suite! {
///     mod memory;
///     open = async || Memory::new();
/// }
/// # fn main() {}
/// ```
///
/// A store that outlives its process has a place: a directory, the name of a database, a prefix of keys. `place` is a
/// closure that makes an empty one for a test, and is dropped after it; `open` opens a store there, which comes more
/// than once in tests of what is still there afterwards. The store before is dropped first. (That a crash loses nothing
/// is yours to try.) Where a place takes waiting for, `open` makes it on first use: `place` is a
/// `tokio::sync::OnceCell` then.
///
/// ```
/// use dialogue::store::Memory;
///
/// dialogue::testing::store_suite! {
///     /// What memory keeps, for as long as there is a clone of it.
///     mod kept;
///     place = Memory::new;
///     open = async |place: &Memory| place.clone();
/// }
/// # fn main() {}
/// ```
///
#[macro_export]
#[doc(hidden)]
macro_rules! store_suite {
    ($(#[$attribute:meta])* mod $name:ident; open = $open:expr $(;)?) => {
        $(#[$attribute])*
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn try_by(sentence: $crate::testing::store::Sentence) {
                $crate::testing::store::try_store($open, sentence);
            }

            $crate::store_suite!(@sentences @tests);
        }
    };
    ($(#[$attribute:meta])* mod $name:ident; place = $place:expr; open = $open:expr $(;)?) => {
        $(#[$attribute])*
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn try_by(sentence: $crate::testing::store::Sentence) {
                $crate::testing::store::try_store_at($place, $open, sentence);
            }

            $crate::store_suite!(@sentences @tests);
            $crate::store_suite!(@lasting @tests);
        }
    };
    (@sentences @$then:ident) => {
        $crate::store_suite! { @$then
            every_field_of_an_event_comes_back
            events_are_large_or_empty
            one_call_appends_to_several_rooms
            numbers_go_on_from_call_to_call
            an_append_to_nothing_is_no_error
            numbers_that_are_held_are_a_conflict
            a_hole_in_the_numbers_is_a_conflict
            another_epoch_is_a_conflict
            a_conflict_names_its_rooms_and_leaves_the_others_kept
            a_dropped_append_is_done_or_not
            appends_to_different_rooms_are_under_way_at_once
            many_rooms_are_told_apart
            room_ids_are_told_apart_to_the_byte
            a_room_without_events_has_no_head
            the_head_is_where_a_log_begins_and_ends
            a_log_is_read_in_both_orders
            after_and_before_are_outside_of_a_page
            since_is_inside_of_a_page_and_until_outside
            only_events_of_these_names_are_read
            the_limit_is_kept
            a_page_ends_with_the_event_that_goes_past_its_bytes
            bounds_may_be_beyond_everything
            pages_make_the_log
            pages_make_the_log_while_it_grows_and_is_trimmed
            keys_come_back_oldest_first
            keys_are_asked_for_since_a_time
            keys_survive_the_trimming_of_their_events
            trimming_drops_keys_from_before_a_time
            of_very_many_keys_the_newest_are_told
            a_key_may_come_again
            trimming_drops_what_is_before
            the_newest_event_is_never_trimmed
            trimming_again_changes_nothing
            a_log_of_another_epoch_is_not_trimmed
            a_trimmed_log_goes_on
            a_removed_log_is_gone_with_its_keys
            a_removed_log_begins_again
            removing_one_room_leaves_all_others
            a_record_is_put_and_got
            a_record_is_replaced_and_removed
            a_record_holds_any_bytes
            keys_of_records_are_told_apart_to_the_byte
            records_are_scanned_in_the_order_of_bytes
            a_scan_keeps_to_its_prefix
            a_scan_goes_on_after_a_key
            it_answers_as_memory_does
        }
    };
    (@lasting @$then:ident) => {
        $crate::store_suite! { @$then
            what_was_acknowledged_is_there_when_opened_again
            what_was_removed_stays_removed_when_opened_again
            a_log_goes_on_when_opened_again
            it_answers_as_memory_does_when_opened_again
        }
    };
    (@tests $($sentence:ident)*) => {
        $(
            #[test]
            fn $sentence() {
                try_by($crate::testing::store::named::$sentence);
            }
        )*
    };
    (@named $($sentence:ident)*) => {
        $(
            #[allow(missing_docs)]
            pub fn $sentence(tried: Tried<'_>) -> Pin<Box<dyn Future<Output = ()> + '_>> {
                Box::pin(async { super::all::$sentence(tried).await })
            }
        )*
    };
    (@table $($sentence:ident)*) => {
        [$((stringify!($sentence), $crate::testing::store::named::$sentence as $crate::testing::store::Sentence)),*]
    };
}
