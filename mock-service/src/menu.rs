//! The menu: five dishes, fixed for the life of the process.

use serde::Serialize;

/// One dish, in the field order of the answers.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct MenuItem {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// In the platform's one currency, which the contract leaves unnamed.
    pub(crate) price: f64,
    pub(crate) available: bool,
    pub(crate) description: &'static str,
    pub(crate) restaurant: &'static str,
    pub(crate) category: &'static str,
    pub(crate) prep_time_minutes: u32,
}

pub(crate) static MENU: [MenuItem; 5] = [
    MenuItem {
        id: "1",
        name: "Margherita Pizza",
        price: 12.99,
        available: true,
        description: "Fresh mozzarella, tomato sauce, basil",
        restaurant: "Tony's Pizza",
        category: "Pizza",
        prep_time_minutes: 20,
    },
    MenuItem {
        id: "2",
        name: "Chicken Pad Thai",
        price: 14.99,
        available: true,
        description: "Rice noodles, chicken, peanuts, lime",
        restaurant: "Thai Palace",
        category: "Asian",
        prep_time_minutes: 15,
    },
    MenuItem {
        id: "3",
        name: "Classic Burger",
        price: 11.99,
        available: false,
        description: "Beef patty, lettuce, tomato, cheese",
        restaurant: "Burger Joint",
        category: "Burgers",
        prep_time_minutes: 12,
    },
    MenuItem {
        id: "4",
        name: "Caesar Salad",
        price: 8.99,
        available: true,
        description: "Romaine lettuce, parmesan, croutons",
        restaurant: "Healthy Bites",
        category: "Salads",
        prep_time_minutes: 5,
    },
    MenuItem {
        id: "5",
        name: "Sushi Platter",
        price: 24.99,
        available: true,
        description: "12 piece mixed sushi selection",
        restaurant: "Sakura Sushi",
        category: "Japanese",
        prep_time_minutes: 25,
    },
];
