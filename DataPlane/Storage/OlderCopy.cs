using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Storage;

/// <summary>Whether an older copy is kept, and in words what is kept or why nothing is.</summary>
public sealed record OlderCopyStatus(bool Kept, string Text);

/// <summary>The consistent older copy that the target of a resync keeps: until the resync has ended its directories are neither the old
/// state nor the new one, and if the source is lost meanwhile the older copy is the best that is left.</summary>
/// <remarks>
/// <para>It is made before the first byte of the copy changes, by reflink: it takes no room at first, then as much as the resync
/// changes. At most one is kept. A resync that was interrupted left the copy Inconsistent; the next one keeps the older copy of the first.
/// It goes when the copy is durably UpToDate again, and before that only if the disk has no room left for the resync itself.</para>
/// <para>It is kept of all directories of the module or of none. <see cref="gate"/> serialises everything that changes the folders; <see cref="Dispose"/> ends a removal that runs, and the next
/// store goes on with it.</para>
/// </remarks>
public sealed class OlderCopy : IDisposable
{
    /// <summary>Between two looks whether somebody still reads the copy that is to go.</summary>
    private static readonly TimeSpan ReadersPause = TimeSpan.FromSeconds(1);

    /// <summary>For a step of another thread: a removal stops at the next entry, so more means a hanging disk.</summary>
    private static readonly TimeSpan GateDeadline = TimeSpan.FromSeconds(10);

    private readonly object gate = new();
    private readonly SafeFileHandle[] modules;
    private readonly SafeFileHandle[] hidden;
    private readonly Action<string, string> note;
    private readonly ManualResetEventSlim closing = new();
    private volatile OlderCopyStatus? status;
    private volatile bool yield;
    private Thread? remover;

    private OlderCopy(ObjectStore store, Action<string, string> note)
    {
        this.note = note;
        modules = [.. Enumerable.Range(0, store.Directories).Select(store.OpenModuleDirectory)];
        hidden = [.. Enumerable.Range(0, store.Directories).Select(store.OpenHiddenDirectory)];
    }

    /// <summary>Null: no resync has begun since the store was opened, and none was interrupted before.</summary>
    public OlderCopyStatus? Status => status;

    /// <param name="note">Told of what happens: a stable dotted kind and a sentence. From any thread, under no lock of the caller's.</param>
    /// <exception cref="StorageException">A directory of the module cannot be opened.</exception>
    public static OlderCopy Open(ObjectStore store, Action<string, string> note)
    {
        var older = new OlderCopy(store, note);
        using var folders = OlderCopySet.OpenIfThere(older.hidden);
        if (folders.Complete() is [var number, ..])
            older.status = Kept(folders, number);
        if (folders.HasRefuse)
            older.RemoveInBackground(retire: false);
        return older;
    }

    /// <summary>To be called before a resync changes anything and before the copy is stored as Inconsistent. Never fails: without an older copy
    /// the resync is as safe as the mirror was, so it goes on.</summary>
    /// <param name="state">The durable state of the copy.</param>
    /// <param name="deadline">The source waits for as long as that, with a margin.</param>
    /// <param name="giveUpReason">Null, or why the resync will not take place.</param>
    /// <returns>Null: nothing is known of this copy, so there is nothing to keep.</returns>
    public OlderCopyStatus? Preserve(LocalState state, TimeSpan deadline, Func<string?> giveUpReason)
    {
        var clock = Stopwatch.StartNew();
        if (!TryLock())
            return Show(new(false, "no older copy: the one before is still being removed"));
        try
        {
            using var folders = OlderCopySet.OpenOrMake(hidden);
            if (state.DataState is not (DataState.UpToDate or DataState.Outdated))
            {
                if (folders.Complete() is [var earlier, ..])
                    return Show(Kept(folders, earlier));
                return state.DataState == DataState.Unknown ? status = null : Show(new(false, $"no older copy: this copy was {state.DataState} already"));
            }
            foreach (var number in folders.Complete())
            {
                if (!folders.Retire(number))
                    return Show(Kept(folders, number));
            }
            _ = folders.RemoveRefuse(static () => false);
            return Show(Make(folders, state, () => giveUpReason()
                ?? (clock.Elapsed > deadline ? $"it was not complete within {deadline.TotalSeconds:0} s" : null)));
        }
        catch (StorageException e)
        {
            return Show(new(false, $"no older copy: {e.Message}"));
        }
        finally
        {
            Monitor.Exit(gate);
        }
    }

    /// <summary>The disk has no room for the resync: the older copy, which holds what the resync has replaced, goes at once.</summary>
    /// <returns>False: there was none, or somebody reads it.</returns>
    public bool GiveUp(string reason)
    {
        if (!TryLock())
            return false;
        try
        {
            using var folders = OlderCopySet.OpenIfThere(hidden);
            if (folders.Complete() is not [var number, ..] || !folders.Retire(number))
                return false;
            _ = folders.RemoveRefuse(() => closing.IsSet);
            Show(new(false, $"the older copy was given up: {reason}"));
            return true;
        }
        catch (StorageException e)
        {
            note("resync.older-copy", $"the older copy could not be removed: {e.Message}");
            return false;
        }
        finally
        {
            Monitor.Exit(gate);
        }
    }

    /// <summary>This copy is durably UpToDate: the older one is of no use any more. Returns at once.</summary>
    public void Drop()
    {
        status = null;
        RemoveInBackground(retire: true);
    }

    public void Dispose()
    {
        closing.Set();
        remover?.Join();
        foreach (var handle in hidden.Concat(modules))
            handle.Dispose();
        closing.Dispose();
    }

    private OlderCopyStatus Make(OlderCopySet folders, LocalState state, Func<string?> giveUp)
    {
        var about = new OlderCopyAbout(state.Record.Epoch, state.DataState, state.SyncBase, state.LostPower,
            DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        string why;
        try
        {
            folders.Add(modules, about, new() { GiveUpReason = giveUp });
            return Kept(folders, about.Epoch);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            why = e.Message;
        }
        _ = folders.RemoveRefuse(static () => false);
        return new(false, $"no older copy: {why}");
    }

    private static OlderCopyStatus Kept(OlderCopySet folders, long number) =>
        new(true, $"older copy {number} is kept until the resync has ended: {OlderCopyAbout.Describe(folders.About(number))}");

    private OlderCopyStatus Show(OlderCopyStatus now)
    {
        status = now;
        note("resync.older-copy", now.Text);
        return now;
    }

    private bool TryLock()
    {
        // A removal lets go at the next entry.
        yield = true;
        var locked = Monitor.TryEnter(gate, GateDeadline);
        yield = false;
        return locked;
    }

    private void RemoveInBackground(bool retire)
    {
        yield = true;
        remover?.Join();
        yield = false;
        remover = new Thread(() => Remove(retire)) { IsBackground = true, Name = "older copy" };
        remover.Start();
    }

    private void Remove(bool retire)
    {
        lock (gate)
        {
            try
            {
                using var folders = OlderCopySet.OpenIfThere(hidden);
                foreach (var number in retire ? folders.Complete() : [])
                {
                    while (!folders.Retire(number))
                    {
                        if (yield || closing.Wait(ReadersPause))
                            return;
                    }
                    note("resync.older-copy", $"older copy {number} is dropped: this copy is up to date");
                }
                _ = folders.RemoveRefuse(() => yield || closing.IsSet);
            }
            catch (StorageException e)
            {
                note("resync.older-copy", $"the older copy could not be removed: {e.Message}");
            }
        }
    }
}
