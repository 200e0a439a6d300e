//! The representation of values, access by access: these tests run under Miri too
//! (`tests/soundness/run`).

use super::account::{self, Account};
use super::attrs::{Shape, ShapeCache};
use super::thunk::{Claim, Worker};
use super::*;
use crate::compile::code::Code;
use crate::source::Pos;
use crate::symbol::Symbol;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

static PLAIN: Code = Code::native(0, |_, _| Ok(Value::NULL));
static PAIR: Code = Code::native(2, |_, captures| Ok(captures[0]));
static QUAD: Code = Code::native(4, |_, captures| Ok(captures[0]));

fn attr(name: &str, value: i64) -> Attr {
    Attr { name: Symbol::new(name.as_bytes()), pos: Pos::NONE, value: Value::int(value) }
}

fn numbers(set: Attrs) -> Vec<(String, i64)> {
    set.sorted()
        .map(|attr| (String::from_utf8_lossy(attr.name.name()).into_owned(), attr.value.as_int().unwrap_or_default()))
        .collect()
}

/// Forces a thunk whose value is the sum of its captures. `None` for a cycle.
fn sum(thunk: Value, worker: u32, company: Option<&Account>) -> Option<i64> {
    let View::Thunk(thunk) = thunk.view() else { return thunk.as_int() };
    match thunk.claim(Worker(worker), company) {
        Claim::Done(value) => value.as_int(),
        Claim::Cycle => None,
        Claim::Run(claimed) => {
            let sum = claimed.captures().iter().filter_map(|capture| capture.as_int()).sum();
            claimed.finish(Value::int(sum), company);
            Some(sum)
        }
    }
}

#[test]
fn numbers_inside_and_outside_of_a_word() {
    for number in [0, 1, -1, i64::MAX >> 3, i64::MIN >> 3, (i64::MAX >> 3) + 1, (i64::MIN >> 3) - 1, i64::MAX, i64::MIN]
    {
        assert_eq!(Value::int(number).as_int(), Some(number));
    }
    assert_eq!(Value::float(1.5).as_float(), Some(1.5));
    assert_eq!(Value::int(2).small_add(Value::int(3)).and_then(Value::as_int), Some(5));
    assert!(Value::int(i64::MAX >> 3).small_add(Value::int(1)).is_none());
    assert_eq!(Value::int(-4).small_mul(Value::int(5)).and_then(Value::as_int), Some(-20));
    assert!(matches!(Value::builtin(300).view(), View::Builtin(300)));
}

#[test]
fn strings_and_contexts() {
    let path = ContextElement::Opaque(Symbol::new(b"/store/x"));
    let context = Context::one(path).union(Context::one(ContextElement::DerivationDeep(Symbol::new(b"/store/y"))));
    for len in [0, 1, 7, 8, 9, 100] {
        let text = vec![b'x'; len];
        assert_eq!(Value::string(&text).as_string().unwrap().bytes(), text);
        let with_context = Value::string_with_context(&text, context).as_string().unwrap();
        assert_eq!((with_context.bytes(), with_context.context().elements().len()), (&text[..], 2));
    }
    assert_eq!(Value::path(b"/a/b").as_path().unwrap().bytes(), b"/a/b");
}

#[test]
fn a_big_buffer_becomes_the_string() {
    for context in [Context::EMPTY, Context::one(ContextElement::Opaque(Symbol::new(b"/store/x")))] {
        let mut buffer = Str::buffer();
        let expected = vec![b'y'; 70_000];
        buffer.extend_from_slice(&expected);
        let text = Value::string_from_buffer(buffer, context).as_string().unwrap();
        assert!(text.bytes() == expected);
        assert_eq!(text.context().is_empty(), context.is_empty());
    }
}

#[test]
fn lists_and_their_slices() {
    let list = Value::list_from_fn(10, |index| Value::int(index as i64)).as_list().unwrap();
    let tail = Value::list_slice(list, 4).as_list().unwrap();
    let both = Value::list_concat(&[tail, list]).as_list().unwrap();
    assert_eq!(tail.len(), 6);
    assert_eq!(both.values().iter().filter_map(|value| value.as_int()).sum::<i64>(), 45 + 39);
    let unfilled = Value::list_from_fn(3, |_| Value::NULL).as_list().unwrap();
    // SAFETY: the list was made just now.
    unsafe { unfilled.fill(1, &[Value::TRUE, Value::FALSE]) };
    assert!(unfilled.values()[1].same(Value::TRUE) && unfilled.values()[2].same(Value::FALSE));
    assert!(Value::empty_list().as_list().unwrap().is_empty());
}

fn list_of(range: std::ops::Range<i64>) -> List {
    Value::list(&range.map(Value::int).collect::<Vec<_>>()).as_list().unwrap()
}

fn elements(list: List) -> Vec<i64> {
    list.values().iter().filter_map(|value| value.as_int()).collect()
}

fn joined(lists: &[List]) -> List {
    Value::list_concat(lists).as_list().unwrap()
}

#[test]
fn lists_grow_in_one_buffer() {
    let mut list = joined(&[list_of(0..20), list_of(20..40)]);
    let mut kept = vec![list];
    for number in 40..200 {
        list = joined(&[list, list_of(number..number + 1)]);
        kept.push(list);
    }
    for (list, len) in kept.iter().zip(40..) {
        assert_eq!(elements(*list), (0..len).collect::<Vec<_>>());
    }
    let places: std::collections::HashSet<_> = kept.iter().map(|list| list.values().as_ptr()).collect();
    assert!(places.len() < 10, "most lists are the start of another one");
}

#[test]
fn two_lists_from_one_left_operand() {
    let mut list = joined(&[list_of(0..20), list_of(20..40)]);
    list = joined(&[list, list_of(40..41)]);
    // The first gets the room of the buffer, the others a copy; an empty buffer is left alone.
    let results: Vec<List> = (50..53).map(|number| joined(&[list, list_of(number..number + 1)])).collect();
    let of_results: Vec<List> = results.iter().map(|&list| joined(&[list, list_of(90..92)])).collect();
    assert_eq!(elements(list), (0..41).collect::<Vec<_>>());
    for ((result, longer), number) in results.iter().zip(of_results).zip(50..) {
        assert_eq!(elements(*result), (0..41).chain([number]).collect::<Vec<_>>());
        assert_eq!(elements(longer), (0..41).chain([number, 90, 91]).collect::<Vec<_>>());
    }
    assert_eq!(elements(joined(&[list, Value::empty_list().as_list().unwrap()])), elements(list));
}

#[test]
fn lists_grow_at_both_ends() {
    let mut list = joined(&[list_of(100..120), list_of(120..140)]);
    let mut expected: std::collections::VecDeque<i64> = (100..140).collect();
    for step in 0..60 {
        list = joined(&[list_of(-step..1 - step), list, list_of(step..step + 1)]);
        list = joined(&[list_of(-step..1 - step), list]);
        list = joined(&[list, list_of(step..step + 1)]);
        for _ in 0..2 {
            expected.push_front(-step);
            expected.push_back(step);
        }
        assert_eq!(elements(list), Vec::from(expected.clone()));
    }
    // A part of a buffer grows there too, unless the slots behind it are taken.
    let tail = Value::list_slice(list, 10).as_list().unwrap();
    let longer = joined(&[tail, list_of(7..8)]);
    let before = joined(&[list_of(7..8), tail]);
    let expected: Vec<i64> = expected.into_iter().skip(10).collect();
    assert_eq!(elements(longer), [&expected[..], &[7]].concat());
    assert_eq!(elements(before), [&[7], &expected[..]].concat());
    assert_eq!(elements(tail), expected);
}

#[test]
fn a_queue_moves_through_buffers() {
    let mut queue = joined(&[list_of(0..20), list_of(20..40)]);
    let mut places = std::collections::HashSet::new();
    for number in 40..500 {
        let tail = Value::list_slice(queue, 1).as_list().unwrap();
        queue = joined(&[tail, list_of(number..number + 1)]);
        assert_eq!(elements(queue), (number - 39..=number).collect::<Vec<_>>());
        places.insert(queue.values().last().unwrap() as *const Value as usize - number as usize * 8);
    }
    assert!(places.len() < 40, "most steps write one element");
}

#[test]
fn threads_append_to_one_list_and_string() {
    let list = joined(&[joined(&[list_of(0..40), list_of(40..80)]), list_of(80..81)]);
    let text = Value::string(&[b'a'; 200]).as_string().unwrap();
    let more = Value::string(&[b'b'; 100]).as_string().unwrap();
    let join = |left: Str, right: Str| {
        Value::string_joined(left.bytes().len() + right.bytes().len(), Context::EMPTY, left, [], right)
            .as_string()
            .unwrap()
    };
    let text = join(join(text, more), more);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            std::thread::spawn(move || {
                let mut longer = list;
                let mut growing = text;
                for step in 0..10 {
                    longer = joined(&[longer, list_of(number..number + 1)]);
                    growing = join(growing, Value::string(&[b'0' + number as u8, b'0' + step]).as_string().unwrap());
                }
                (longer, growing)
            })
        })
        .collect();
    for (thread, number) in threads.into_iter().zip(0..) {
        let (longer, growing) = thread.join().unwrap();
        assert_eq!(elements(longer), (0..81).chain([number; 10]).collect::<Vec<_>>());
        let steps: Vec<u8> = (0..10).flat_map(|step| [b'0' + number as u8, b'0' + step]).collect();
        assert_eq!(growing.bytes(), [text.bytes(), &steps].concat());
    }
    assert_eq!((list.len(), text.bytes().len()), (81, 400));
}

#[test]
fn strings_grow_and_are_sliced() {
    let context = Context::one(ContextElement::Opaque(Symbol::new(b"/store/z")));
    for context in [Context::EMPTY, context] {
        let mut text = Value::string_with_context(&[b'x'; 250], context).as_string().unwrap();
        let mut expected = vec![b'x'; 250];
        for step in 0..200u8 {
            let [first, last] = [&[step][..], &[step, b'e']].map(|part| Value::string(part).as_string().unwrap());
            // At the end, with a part between, and now and then at the start.
            text = if step % 5 == 4 {
                expected.splice(0..0, [step, b'-']);
                Value::string_joined(expected.len(), context, first, [&b"-"[..]], text)
            } else {
                expected.extend([b'-', step, b'e']);
                Value::string_joined(expected.len(), context, text, [&b"-"[..]], last)
            }
            .as_string()
            .unwrap();
            assert!(text.bytes() == expected && text.context().is_empty() == context.is_empty());
        }
        for range in [0..expected.len() - 1, 3..300, 3..4, 7..7] {
            let slice = Value::string_slice(text, range.clone()).as_string().unwrap();
            assert_eq!(slice.bytes(), &expected[range.clone()]);
            assert_eq!(slice.context().is_empty(), context.is_empty());
            let len = slice.bytes().len() + text.bytes().len();
            let both = Value::string_joined(len, context, slice, [], text).as_string().unwrap();
            assert_eq!(both.bytes(), [&expected[range], &expected[..]].concat());
        }
    }
}

#[test]
fn without_room_nothing_is_reserved_for_growth() {
    std::thread::spawn(|| {
        let account = Account::new(Some(12 << 20));
        let _entered = account::enter(&account);
        // A third of the limit, twice: the second one has no room beside it.
        let list = joined(&[list_of(0..1), Value::list_from_fn(500_000, |_| Value::int(1)).as_list().unwrap()]);
        assert!(account.has_room(3 << 20) && !account.has_room(5 << 20));
        assert_eq!(list.len(), 500_001);
        let text = Value::string(&vec![b'z'; 100_000]).as_string().unwrap();
        let end = Value::string(b"end").as_string().unwrap();
        let longer = Value::string_joined(100_003, Context::EMPTY, text, [], end).as_string().unwrap();
        assert!(longer.bytes().ends_with(b"zend") && !account.is_ended());
    })
    .join()
    .unwrap();
}

#[test]
fn sets_in_all_their_forms() {
    let names: Vec<String> = (0..40).map(|n| format!("set-{n}")).collect();
    let base = Value::attrs(names.iter().zip(0..).map(|(name, n)| attr(name, n)).collect());
    let mut set = base.as_attrs().unwrap();
    for (name, number) in names.iter().zip(100..).take(10) {
        let top = Value::attrs(vec![attr(name, number)]).as_attrs().unwrap();
        set = set.update(top).as_attrs().unwrap();
    }
    assert!(set.shape_if_flat().is_none());
    let cache = ShapeCache::new();
    let third = Symbol::new(b"set-3");
    assert_eq!(cache.get(set, third).and_then(Value::as_int), Some(103));
    for _ in 0..2 {
        assert_eq!(cache.get(base.as_attrs().unwrap(), third).and_then(Value::as_int), Some(3));
    }
    assert_eq!(set.get_attr(Symbol::new(b"set-20")).and_then(|attr| attr.value.as_int()), Some(20));
    let flat = numbers(set);
    assert_eq!((flat.len(), flat.iter().map(|(_, number)| number).sum::<i64>()), (40, 780 + 10 * 100));
    // Flattened now.
    assert_eq!(cache.get(set, third).and_then(Value::as_int), Some(103));
    assert_eq!(set.len(), 40);
    assert!(cache.get(set, Symbol::new(b"set-none")).is_none());
}

#[test]
fn sets_grow_by_layers() {
    let mut expected = std::collections::BTreeMap::new();
    for (kind, from_front) in [("end", false), ("front", true)] {
        let mut set = Value::empty_attrs().as_attrs().unwrap();
        let mut kept = Vec::new();
        expected.clear();
        for step in 0..300 {
            // Some names again.
            let name = format!("{kind}-{}", step * 7 % 250);
            let one = Value::attrs(vec![attr(&name, step)]).as_attrs().unwrap();
            if from_front {
                set = one.update(set).as_attrs().unwrap();
                expected.entry(name).or_insert(step);
            } else {
                set = set.update(one).as_attrs().unwrap();
                expected.insert(name, step);
            }
            if step % 50 == 3 {
                kept.push((set, expected.clone()));
            }
        }
        kept.push((set, expected.clone()));
        for (set, expected) in kept {
            for step in 0..250 {
                let name = format!("{kind}-{step}");
                assert_eq!(set.get(Symbol::new(name.as_bytes())).and_then(Value::as_int), expected.get(&name).copied());
            }
            let mut flat = numbers(set);
            flat.sort();
            assert_eq!(flat, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn names_are_removed_by_layers() {
    let name = |number: i64| Symbol::new(format!("gone-{number}").as_bytes());
    let mut set = Value::attrs((0..100).map(|n| attr(&format!("gone-{n}"), n)).collect()).as_attrs().unwrap();
    let whole = set;
    let back = Value::attrs(vec![attr("gone-20", 1000), attr("new", 1001)]).as_attrs().unwrap();
    for number in 0..100 {
        set = set.without(&[name(number)]).as_attrs().unwrap();
        assert!(!set.contains(name(number)) && set.get_attr(name(number)).is_none());
        assert_eq!(set.contains(name(99)), number < 99);
        assert_eq!(set.is_empty(), number == 99);
        let with_one_back = set.update(back).as_attrs().unwrap();
        assert_eq!(with_one_back.get(name(20)).and_then(Value::as_int), Some(1000));
        assert_eq!(with_one_back.len() as i64, 99 - number + 2 - i64::from(number < 20));
        // A removal is of this set alone.
        let on_whole = whole.update(set).as_attrs().unwrap();
        assert_eq!(on_whole.len(), 100);
        if number % 30 == 0 {
            assert_eq!(numbers(set).len() as i64, 99 - number);
        }
    }
}

#[test]
fn a_set_holds_itself() {
    let own = Symbol::new(b"own");
    let value = Value::attrs_with_own(own, vec![attr("other", 1)]);
    assert!(value.as_attrs().unwrap().get(own).unwrap().same(value));
}

#[test]
fn threads_flatten_one_set_at_once() {
    let base = Value::attrs((0..20).map(|n| attr(&format!("flat-{n}"), n)).collect()).as_attrs().unwrap();
    let set = base.update(Value::attrs(vec![attr("flat-3", 50)]).as_attrs().unwrap()).as_attrs().unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || {
                assert_eq!(set.get(Symbol::new(b"flat-3")).and_then(Value::as_int), Some(50));
                numbers(set).len()
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 20));
}

#[test]
fn functions_and_partial_applications() {
    let function = Value::function_from_fn(&PAIR, |index| Value::int(index as i64)).as_function().unwrap();
    assert_eq!(function.captures().iter().filter_map(|value| value.as_int()).collect::<Vec<_>>(), [0, 1]);
    let unfilled = Value::function_unfilled(&PAIR).as_function().unwrap();
    // SAFETY: the function was made just now.
    unsafe { unfilled.fill(1, function.value()) };
    assert!(unfilled.captures()[0].is_null() && unfilled.captures()[1].same(function.value()));
    assert!(std::ptr::eq(unfilled.code(), &raw const PAIR));
    let View::Partial(partial) = Value::partial(function.value(), &[Value::TRUE], &[Value::NULL]).view() else {
        panic!("a partial application was made")
    };
    assert!(partial.function().same(function.value()) && partial.arguments().len() == 2);
}

#[test]
fn thunks_are_forced_restored_and_filled() {
    for code in [&PLAIN, &PAIR, &QUAD] {
        let captures: Vec<Value> = (0..code.captures.len()).map(|index| Value::int(index as i64 + 1)).collect();
        let thunk = Value::thunk(code, &captures);
        let View::Thunk(state) = thunk.view() else { panic!("a thunk was made") };
        let Claim::Run(claimed) = state.claim(Worker(1), None) else { panic!("it is suspended") };
        assert!(matches!(state.claim(Worker(1), None), Claim::Cycle));
        claimed.restore(None);
        assert!(state.done().is_none());
        let expected = captures.iter().filter_map(|capture| capture.as_int()).sum();
        assert_eq!(sum(thunk, 1, None), Some(expected));
        assert_eq!(state.done().and_then(Value::as_int), Some(expected));
    }
    let later = Value::thunk_unfilled(&PAIR);
    let View::Thunk(state) = later.view() else { panic!("a thunk was made") };
    let Claim::Run(claimed) = state.claim(Worker(1), None) else { panic!("it is suspended") };
    claimed.refill(&[Value::int(4), Value::int(5)], None);
    assert_eq!(sum(later, 1, None), Some(9));
}

#[test]
fn words_of_captures_are_used_again() {
    let mut results = Vec::new();
    for round in 0..50 {
        let thunk = Value::thunk(&QUAD, &[Value::int(round), Value::int(1), Value::int(2), Value::int(3)]);
        assert_eq!(sum(thunk, 1, None), Some(round + 6));
        // Takes the words that were given back.
        results.push((thunk, Value::list(&[Value::int(round), thunk])));
    }
    for (round, (thunk, list)) in (0..).zip(results) {
        assert_eq!(sum(thunk, 1, None), Some(round + 6));
        let list = list.as_list().unwrap().values();
        assert!(list[0].as_int() == Some(round) && list[1].same(thunk));
    }
}

#[test]
fn threads_force_one_thunk_once() {
    let account = Account::new(None);
    let thunks: Arc<[Value]> = (0..40).map(|n| Value::thunk(&PAIR, &[Value::int(n), Value::int(1)])).collect();
    let forced = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (1..4)
        .map(|worker| {
            let (account, thunks, forced) = (account.clone(), thunks.clone(), forced.clone());
            std::thread::spawn(move || {
                let _entered = account::enter(&account);
                for (n, &thunk) in (0..).zip(&*thunks) {
                    let before = if let View::Thunk(state) = thunk.view() { state.done() } else { None };
                    assert_eq!(sum(thunk, worker, Some(&account)), Some(n + 1));
                    forced.fetch_add(usize::from(before.is_none()), Ordering::Relaxed);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(forced.load(Ordering::Relaxed) >= thunks.len());
}

#[test]
fn a_cycle_through_two_threads_is_found() {
    let account = Account::new(None);
    let (first, second) = (Value::thunk(&PLAIN, &[]), Value::thunk(&PLAIN, &[]));
    let (View::Thunk(first), View::Thunk(second)) = (first.view(), second.view()) else { panic!("thunks were made") };
    let Claim::Run(claimed) = first.claim(Worker(1), Some(&account)) else { panic!("it is suspended") };
    let ready = Arc::new(std::sync::Barrier::new(2));
    let other = std::thread::spawn({
        let (account, ready) = (account.clone(), ready.clone());
        move || {
            let Claim::Run(claimed) = second.claim(Worker(2), Some(&account)) else { panic!("it is suspended") };
            ready.wait();
            // Waits for the first, or finds the cycle when that waits already.
            let is_cycle = match first.claim(Worker(2), Some(&account)) {
                Claim::Cycle => true,
                Claim::Run(first) => {
                    first.restore(Some(&account));
                    false
                }
                Claim::Done(_) => false,
            };
            claimed.restore(Some(&account));
            is_cycle
        }
    });
    ready.wait();
    let is_cycle = match second.claim(Worker(1), Some(&account)) {
        Claim::Cycle => true,
        Claim::Run(second) => {
            second.restore(Some(&account));
            false
        }
        Claim::Done(_) => false,
    };
    claimed.restore(Some(&account));
    assert!(other.join().unwrap() != is_cycle, "exactly one of the two finds the cycle");
}

#[test]
fn regions_are_charged_to_the_account_that_uses_them() {
    std::thread::spawn(|| {
        let (first, second) = (Account::new(Some(64 << 20)), Account::new(Some(64 << 20)));
        {
            let _entered = account::enter(&first);
            let _object = Value::list_from_fn(1000, |_| Value::NULL);
            assert!(!first.has_room(60 << 20));
        }
        // The rest of the region went back.
        assert!(first.has_room(60 << 20) && !first.has_room(64 << 20));
        let _entered = account::enter(&second);
        assert!(!second.has_room(60 << 20));
        assert!(!first.is_ended() && !second.is_ended());
    })
    .join()
    .unwrap();
}

#[test]
fn objects_larger_than_a_region() {
    let bytes = vec![b'z'; 9 << 20];
    assert!(Value::string(&bytes).as_string().unwrap().bytes() == bytes);
}

#[test]
fn equal_shapes_are_shared() {
    let shape =
        || Shape::shared(2, [(Symbol::new(b"shape-a"), Pos::NONE), (Symbol::new(b"shape-b"), Pos::NONE)].into_iter());
    assert!(std::ptr::eq(shape(), shape()));
    assert_eq!(shape().by_text().len(), 2);
}
