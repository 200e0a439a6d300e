//! The operator `//` on two flat sets.

use super::attrs::{Attr, Flat, Shape};
use super::word::Value;
use crate::symbol::Symbol;
use std::cmp::Ordering as Order;

/// Result of `//` for two shapes: merging sets of these shapes again only copies values.
struct MergePlan {
    left: *const Shape,
    right: *const Shape,
    shape: &'static Shape,
    /// Index into left, or into right with the high bit set.
    sources: Box<[u16]>,
}

const FROM_RIGHT: u16 = 1 << 15;
const PLANS: usize = 1024;
const PLAN_LEN_MAX: usize = 256;

thread_local! {
    static MERGE_PLANS: std::cell::RefCell<Vec<Option<MergePlan>>> =
        std::cell::RefCell::new(std::iter::repeat_with(|| None).take(PLANS).collect());
}

/// Merges two flat sets. Results for the same two shapes share a shape.
pub(super) fn merge(left: Flat, right: Flat) -> Value {
    if left.shape.len() + right.shape.len() > PLAN_LEN_MAX {
        return merge_once(left, right);
    }
    let (left_at, right_at) = (std::ptr::from_ref(left.shape), std::ptr::from_ref(right.shape));
    let slot = ((left_at as usize >> 4).wrapping_mul(0x9e37_79b9) ^ (right_at as usize >> 4).wrapping_mul(0x85eb_ca6b))
        >> 7
        & (PLANS - 1);
    MERGE_PLANS.with_borrow_mut(|plans| {
        if let Some(plan) = &plans[slot]
            && plan.left == left_at
            && plan.right == right_at
        {
            return Value::attrs_from_fn(plan.shape, |index| {
                let source = plan.sources[index];
                if source & FROM_RIGHT != 0 {
                    right.values[(source & !FROM_RIGHT) as usize]
                } else {
                    left.values[source as usize]
                }
            });
        }
        let mut sources = Vec::with_capacity(left.shape.len() + right.shape.len());
        merge_names(left.shape.names(), right.shape.names(), |side| match side {
            Side::Left(index) => sources.push(index as u16),
            Side::Right(index) => sources.push(index as u16 | FROM_RIGHT),
        });
        let entry = |shape: &Shape, index: usize| (shape.names()[index], shape.positions()[index]);
        let shape = Shape::shared(
            sources.len(),
            sources.iter().map(|&source| {
                if source & FROM_RIGHT != 0 {
                    entry(right.shape, (source & !FROM_RIGHT) as usize)
                } else {
                    entry(left.shape, source as usize)
                }
            }),
        );
        let value = Value::attrs_from_fn(shape, |index| {
            let source = sources[index];
            if source & FROM_RIGHT != 0 {
                right.values[(source & !FROM_RIGHT) as usize]
            } else {
                left.values[source as usize]
            }
        });
        plans[slot] = Some(MergePlan { left: left_at, right: right_at, shape, sources: sources.into_boxed_slice() });
        value
    })
}

fn merge_once(left: Flat, right: Flat) -> Value {
    let entry = |flat: Flat, index: usize| Attr {
        name: flat.shape.names()[index],
        pos: flat.shape.positions()[index],
        value: flat.values[index],
    };
    let mut attrs = Vec::with_capacity(left.shape.len() + right.shape.len());
    merge_names(left.shape.names(), right.shape.names(), |side| match side {
        Side::Left(index) => attrs.push(entry(left, index)),
        Side::Right(index) => attrs.push(entry(right, index)),
    });
    Value::attrs_sorted(&attrs)
}

/// Returns the attributes of `base // above`; both are sorted by symbol.
pub(super) fn merge_above(base: Flat, above: Vec<Attr>) -> Vec<Attr> {
    if above.is_empty() {
        return base.iter().collect();
    }
    let mut attrs = Vec::with_capacity(base.shape.len() + above.len());
    let mut above = above.into_iter().peekable();
    for attr in base.iter() {
        while let Some(before) = above.next_if(|other| other.name < attr.name) {
            attrs.push(before);
        }
        attrs.push(above.next_if(|other| other.name == attr.name).unwrap_or(attr));
    }
    attrs.extend(above);
    attrs
}

enum Side {
    Left(usize),
    Right(usize),
}

fn merge_names(left: &[Symbol], right: &[Symbol], mut visit: impl FnMut(Side)) {
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        match left[l].cmp(&right[r]) {
            Order::Less => {
                visit(Side::Left(l));
                l += 1;
            }
            order => {
                visit(Side::Right(r));
                r += 1;
                l += usize::from(order == Order::Equal);
            }
        }
    }
    (l..left.len()).for_each(|index| visit(Side::Left(index)));
    (r..right.len()).for_each(|index| visit(Side::Right(index)));
}
