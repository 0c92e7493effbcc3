/** A memory server for tests, of any test framework. */
package io.factstr.testing;
