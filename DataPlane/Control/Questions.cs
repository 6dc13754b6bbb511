using Pollux.HostProtocol;

namespace Pollux.DataPlane.Control;

/// <summary>The open arbitration requests of this host by operation id, bounded. One lock; called by the modules, the session's two loops
/// and the expiry.</summary>
internal sealed class Questions(int countMax)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<(Guid, string), Open> _open = [];

    private sealed class Open
    {
        public required ArbitrationRequest Request;
        public long DeadlineMs;
        public bool Sent;
    }

    /// <returns>False if too many are open.</returns>
    public bool Put(ArbitrationRequest request, long deadlineMs)
    {
        lock (_gate)
        {
            var key = (request.OperationId, request.Module);
            if (!_open.ContainsKey(key) && _open.Count >= countMax)
                return false;
            _open[key] = new Open { Request = request, DeadlineMs = deadlineMs };
            return true;
        }
    }

    public ArbitrationRequest? NextToSend()
    {
        lock (_gate)
        {
            foreach (var open in _open.Values)
            {
                if (open.Sent)
                    continue;
                open.Sent = true;
                return open.Request;
            }

            return null;
        }
    }

    /// <summary>A new session knows nothing of what the last one was asked.</summary>
    public void SendAllAnew()
    {
        lock (_gate)
        {
            foreach (var open in _open.Values)
                open.Sent = false;
        }
    }

    public bool Take(Guid operationId, string module)
    {
        lock (_gate)
            return _open.Remove((operationId, module));
    }

    public ArbitrationRequest? TakeExpired(long nowMs)
    {
        lock (_gate)
        {
            foreach (var (key, open) in _open)
            {
                if (nowMs < open.DeadlineMs)
                    continue;
                _open.Remove(key);
                return open.Request;
            }

            return null;
        }
    }
}
