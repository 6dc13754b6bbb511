namespace Pollux.DataPlane.Storage;

/// <summary>Bounds the number of open descriptors by the clock algorithm: a hand goes round the nodes that have one and closes the first
/// whose descriptor was not used since the hand came by. Owner of all state: <see cref="gate"/>; uses only set a flag on the node.</summary>
internal sealed class DescriptorCache(int descriptorsMax)
{
    private readonly Lock gate = new();
    private readonly ObjectNode?[] slots = new ObjectNode?[descriptorsMax];
    private int hand;

    /// <summary>Gives the node its descriptor, closing another node's one if the cache is full.</summary>
    public void Add(ObjectNode node, Descriptor descriptor)
    {
        lock (gate)
        {
            node.Descriptor = descriptor;
            if (node.CacheSlot >= 0)
                return;
            // Two rounds end for certain: the first clears every flag.
            while (slots[hand] is { } resident && Interlocked.Exchange(ref resident.Used, 0) != 0)
                hand = (hand + 1) % slots.Length;
            if (slots[hand] is { } victim)
                Close(victim);
            slots[hand] = node;
            node.CacheSlot = hand;
            hand = (hand + 1) % slots.Length;
        }
    }

    public void Remove(ObjectNode node)
    {
        lock (gate)
        {
            if (node.CacheSlot >= 0)
                slots[node.CacheSlot] = null;
            Close(node);
        }
    }

    public void Clear()
    {
        lock (gate)
        {
            for (var i = 0; i < slots.Length; i++)
            {
                if (slots[i] is not { } node)
                    continue;
                slots[i] = null;
                Close(node);
            }
        }
    }

    private static void Close(ObjectNode node)
    {
        node.CacheSlot = -1;
        Interlocked.Exchange(ref node.Descriptor, null)?.Release();
    }
}
