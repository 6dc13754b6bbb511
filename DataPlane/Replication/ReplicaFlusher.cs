using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>Flushes on a thread beside the one that applies, so that writes go on meanwhile. Requests that have gathered for the same object
/// are served by one flush: each is about what was applied before it came.</summary>
internal sealed class ReplicaFlusher
{
    /// <summary>The source has one slot per outstanding operation, so more cannot come.</summary>
    private const int RequestsMax = WriteLedger.OperationsMax + WriteLedger.InternalMax;

    private readonly ObjectStore _store;
    private readonly ReplicaSession _session;
    private readonly object _lock = new();
    private readonly Thread _thread;
    private List<Request> _requests = new(64);
    private List<Request> _taken = new(64);
    private bool _stopped;

    public ReplicaFlusher(string name, ObjectStore store, ReplicaSession session)
    {
        (_store, _session) = (store, session);
        _thread = new Thread(RunGuarded) { IsBackground = true, Name = $"flush {name}" };
        _thread.Start();
    }

    public void Add(ulong sequence, ulong obj, bool dataOnly, long slot) => Add(new Request(sequence, obj, dataOnly, slot, Final: false));

    /// <summary>The last flush of a resync.</summary>
    public void AddFinal() => Add(new Request(0, 0, false, 0, Final: true));

    /// <summary>Waits until a running flush has ended; later ones are dropped.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _stopped = true;
            Monitor.Pulse(_lock);
        }
        _thread.Join();
    }

    private void Add(Request request)
    {
        lock (_lock)
        {
            if (_requests.Count >= RequestsMax)
            {
                _session.Link.End("the source sent more flushes than it has operations");
                return;
            }
            _requests.Add(request);
            Monitor.Pulse(_lock);
        }
    }

    private void RunGuarded()
    {
        try
        {
            Run();
        }
        catch (Exception e)
        {
            _session.Fail(0, 0, $"the replica's flushes failed: {e.GetType().Name}: {e.Message}");
        }
    }

    private void Run()
    {
        while (true)
        {
            lock (_lock)
            {
                while (_requests.Count == 0 && !_stopped)
                    Monitor.Wait(_lock);
                if (_stopped)
                    return;
                (_requests, _taken) = (_taken, _requests);
            }
            while (_taken.Count > 0)
            {
                if (!FlushFirst())
                    return;
            }
        }
    }

    /// <summary>Flushes what the first request names and answers all that it covers.</summary>
    private bool FlushFirst()
    {
        var first = _taken[0];
        var dataOnly = true;
        foreach (var request in _taken)
            dataOnly &= request.Object != first.Object || request.DataOnly;
        var error = first.Object == 0 ? _store.FlushAll() : _store.Flush(first.Object, dataOnly);
        // An object that is gone has nothing left to keep.
        if (error is not (0 or Errno.ESTALE))
        {
            _session.Fail(first.Sequence, error, $"flush of object {first.Object:x}: {Errno.Describe(error)}");
            return false;
        }
        var final = false;
        for (var i = 0; i < _taken.Count;)
        {
            var request = _taken[i];
            // A flush of everything covers all; it came after none of them and they are all applied.
            if (first.Object != 0 && request.Object != first.Object)
            {
                i++;
                continue;
            }
            _taken.RemoveAt(i);
            if (request.Final)
                final = true;
            else
                _session.Flushed(request.Sequence, request.Slot);
        }
        if (final)
            _session.FlushedForTheLastTime();
        return true;
    }

    private readonly record struct Request(ulong Sequence, ulong Object, bool DataOnly, long Slot, bool Final);
}
