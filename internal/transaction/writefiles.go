package transaction

import "context"

// WriteFiles makes the changes in the files alone: all of them, or, when it
// returns an error, none. In a checkout no other git runs meanwhile; index and
// branch stay as they are.
func WriteFiles(ctx context.Context, place Place, changes []Change) error {
	return writeFiles(ctx, place, changes, nil)
}

func writeFiles(ctx context.Context, place Place, changes []Change, step func(string)) error {
	t, err := begin(ctx, place, changes, CommitOptions{step: step})
	if err != nil {
		return err
	}
	defer t.end()
	if len(t.targets) == 0 {
		return nil
	}
	if err := t.put(ctx); err != nil {
		return t.undo(ctx, err)
	}
	if err := t.place.drop(); err != nil {
		return t.undo(ctx, err)
	}
	t.step("drop")
	return nil
}

func (t *transaction) put(ctx context.Context) error {
	if err := t.place.writeJournal(t.journal); err != nil {
		return err
	}
	t.step("journal")
	if err := t.place.stage(ctx, t.journal, t.targets); err != nil {
		return err
	}
	t.step("stage")
	return t.swap(ctx)
}
