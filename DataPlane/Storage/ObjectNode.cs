using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>One object of the tree in memory: type, links and, while cached, an open descriptor. Links and children belong to the
/// store's namespace lock; <see cref="Descriptor"/> to the node's own monitor when it is set and to the cache when it is dropped.</summary>
internal sealed class ObjectNode(ulong id, uint typeBits, StoreDirectory home)
{
    public Descriptor? Descriptor;

    /// <summary>1 when the descriptor was used since the cache's hand came by.</summary>
    public int Used;

    /// <summary>Position in the cache, or -1; owned by the cache.</summary>
    public int CacheSlot = -1;

    public ulong Id { get; set; } = id;

    /// <summary>The module's directory in which the object lies.</summary>
    public StoreDirectory Home { get; } = home;

    /// <summary>Holds objects that have no place in the tree; itself no object.</summary>
    public bool IsInternal { get; init; }

    /// <summary>S_IFMT bits of the mode.</summary>
    public uint TypeBits { get; } = typeBits;

    /// <summary>Entries that name this object, in no order. Empty for the root, the internal directories and removed directories.</summary>
    public List<DirectoryEntry> Links { get; } = new(1);

    /// <summary>Not null for directories.</summary>
    public ChildTable? Children { get; } = StMode.IsDirectory(typeBits) ? new() : null;

    /// <summary>Last attributes of a directory that has been removed while it was still referenced.</summary>
    public ObjectAttributes? Removed { get; set; }

    /// <summary>The content was announced by a manifest and has not arrived completely; kept in an extended attribute too.</summary>
    public bool ContentPending { get; set; }

    public bool IsDirectory => Children is not null;
    public bool IsRegular => StMode.IsRegular(TypeBits);
}

/// <summary>A name in a directory.</summary>
internal sealed class DirectoryEntry(ObjectNode parent, byte[] name, ObjectNode node, long cookie)
{
    public ObjectNode Parent { get; } = parent;
    public byte[] Name { get; } = name;
    public ObjectNode Node { get; set; } = node;

    /// <summary>Position for readdir: grows with each entry ever made in the directory, so a reader that resumes neither skips nor
    /// repeats entries that were there all the time.</summary>
    public long Cookie { get; } = cookie;
}

/// <summary>The entries of one directory, by name and in the order of their cookies.</summary>
internal sealed class ChildTable
{
    /// <summary>Cookies 1 and 2 stand for "." and "..".</summary>
    public const long DotCookie = 1;
    public const long DotDotCookie = 2;

    private readonly Dictionary<byte[], DirectoryEntry> byName = new(NameComparer.Instance);
    private readonly List<DirectoryEntry> byCookie = [];
    private long cookieLast = DotDotCookie;

    public int Count => byCookie.Count;

    public IReadOnlyList<DirectoryEntry> Entries => byCookie;

    public DirectoryEntry? Find(ReadOnlySpan<byte> name) =>
        byName.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(name, out var entry) ? entry : null;

    public DirectoryEntry Add(ObjectNode parent, byte[] name, ObjectNode node)
    {
        var entry = new DirectoryEntry(parent, name, node, ++cookieLast);
        byName.Add(name, entry);
        byCookie.Add(entry);
        node.Links.Add(entry);
        return entry;
    }

    public void Remove(DirectoryEntry entry)
    {
        byName.Remove(entry.Name);
        byCookie.RemoveAt(FirstAfter(entry.Cookie - 1));
        entry.Node.Links.Remove(entry);
    }

    /// <summary>Index of the first entry whose cookie is greater.</summary>
    public int FirstAfter(long cookie)
    {
        int low = 0, high = byCookie.Count;
        while (low < high)
        {
            var middle = (low + high) >>> 1;
            if (byCookie[middle].Cookie <= cookie)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
}

/// <summary>Names are compared as bytes; a span finds a stored name without a copy.</summary>
internal sealed class NameComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
{
    public static readonly NameComparer Instance = new();

    public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);
    public int GetHashCode(byte[] name) => GetHashCode(name.AsSpan());
    public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);
    public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();

    public int GetHashCode(ReadOnlySpan<byte> name)
    {
        var hash = new HashCode();
        hash.AddBytes(name);
        return hash.ToHashCode();
    }
}
