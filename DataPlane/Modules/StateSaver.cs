using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>Stores the role machine's states one after the other on its own thread, so that a slow disk delays neither beacons nor leases.
/// The engine reads here what is durable.</summary>
internal sealed class StateSaver : Replication.ISyncBases, IDisposable
{
    /// <summary>Pause before a failed store is tried again; meanwhile the machine waits, as it must (rule S1).</summary>
    private static readonly TimeSpan RetryPause = TimeSpan.FromSeconds(1);

    private readonly string _module;
    private readonly IModuleState _state;
    private readonly Action<long> _saved;
    private readonly object _gate = new();
    private readonly Thread _thread;
    private volatile LocalState _durable;
    private (long Version, LocalState State)? _next;
    private bool _closed;

    public StateSaver(string module, IModuleState state, LocalState recovered, Action<long> saved)
    {
        _module = module;
        _state = state;
        _durable = recovered;
        _saved = saved;
        _thread = new Thread(Run) { IsBackground = true, Name = "state " + module };
        _thread.Start();
    }

    public LocalState Current => _durable;

    /// <summary>Why nothing can be stored at present, or null.</summary>
    public string? Fault { get; private set; }

    /// <summary>A newer state replaces one that still waits: to have stored it is to have stored those before.</summary>
    public void Put(long version, LocalState state)
    {
        lock (_gate)
        {
            _next = (version, state);
            Monitor.Pulse(_gate);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            _closed = true;
            Monitor.Pulse(_gate);
        }

        _thread.Join();
    }

    private void Run()
    {
        while (true)
        {
            (long Version, LocalState State) next;
            lock (_gate)
            {
                while (_next is null && !_closed)
                    Monitor.Wait(_gate);
                if (_next is null)
                    return;
                next = _next.Value;
                _next = null;
            }

            try
            {
                _state.Save(next.State);
                Fault = null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Fault = e.Message;
                HostLog.Error("modules", "the module's state cannot be stored", ("module", _module), ("reason", e.Message));
                lock (_gate)
                {
                    if (_closed)
                        return;
                    _next ??= next;
                    Monitor.Wait(_gate, RetryPause);
                }

                continue;
            }

            _durable = next.State;
            _saved(next.Version);
        }
    }
}
